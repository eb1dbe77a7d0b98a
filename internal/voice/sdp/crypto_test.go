package sdp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
)

// keyText is a key of n octets as SDES writes it.
func keyText(n int) string { return base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{0xA5}, n)) }

func secured(t *testing.T, proto string, cryptos ...string) *Description {
	t.Helper()
	text := "v=0\nc=IN IP4 198.51.100.7\nm=audio 4000 " + proto + " 8\n"
	for _, c := range cryptos {
		text += "a=crypto:" + c + "\n"
	}
	return parse(t, text)
}

func TestAnOfferOfSRTPAloneWithoutAKeyThatWeCanUseIsRefused(t *testing.T) {
	for name, cryptos := range map[string][]string{"none": nil, "a suite that we have not": {"1 AES_256_CM_HMAC_SHA1_80 inline:" + keyText(46)}} {
		if err := CheckOffer(secured(t, "RTP/SAVP", cryptos...)); !errors.Is(err, ErrNoAudio) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := CheckOffer(secured(t, "RTP/AVP")); err != nil {
		t.Error(err)
	}
}

func TestKeysOfADescriptionAreReadAsFarAsWeCanUseThem(t *testing.T) {
	k30, k28 := keyText(30), keyText(28)
	for name, c := range map[string]struct {
		line string
		want Suite // "" = not taken
		tag  int
	}{
		"counter mode":           {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30, CM80, 1},
		"short tag":              {"7 AES_CM_128_HMAC_SHA1_32 inline:" + k30, CM32, 7},
		"GCM":                    {"2 AEAD_AES_128_GCM inline:" + k28, GCM, 2},
		"no padding":             {"2 AEAD_AES_128_GCM inline:" + strings.TrimRight(k28, "="), GCM, 2},
		"lifetime":               {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + "|2^48", CM80, 1},
		"lower case":             {"1 aes_cm_128_hmac_sha1_80 INLINE:" + k30, CM80, 1},
		"window size hint":       {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + " WSH=64", CM80, 1},
		"optional parameter":     {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + " -NEW=1", CM80, 1},
		"key identifier":         {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + "|2^20|1:4", "", 0},
		"identifier alone":       {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + "|1:4", "", 0},
		"two keys":               {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + "|2^20|1:4;inline:" + k30 + "|2^20|2:4", "", 0},
		"sent in the clear":      {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + " UNENCRYPTED_SRTP", "", 0},
		"sent unproven":          {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + " UNAUTHENTICATED_SRTP", "", 0},
		"key derivation rate":    {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k30 + " KDR=2", "", 0},
		"another suite":          {"1 AES_256_CM_HMAC_SHA1_80 inline:" + keyText(46), "", 0},
		"short key":              {"1 AES_CM_128_HMAC_SHA1_80 inline:" + k28, "", 0},
		"no key":                 {"1 AES_CM_128_HMAC_SHA1_80 inline:", "", 0},
		"no base64":              {"1 AES_CM_128_HMAC_SHA1_80 inline:!!!!", "", 0},
		"another method":         {"1 AES_CM_128_HMAC_SHA1_80 uri:" + k30, "", 0},
		"no tag":                 {"AES_CM_128_HMAC_SHA1_80 inline:" + k30, "", 0},
		"a tag that is none":     {"x AES_CM_128_HMAC_SHA1_80 inline:" + k30, "", 0},
		"a tag beyond all bound": {"99999999999 AES_CM_128_HMAC_SHA1_80 inline:" + k30, "", 0},
	} {
		t.Run(name, func(t *testing.T) {
			m := secured(t, "RTP/SAVP", c.line).Media[0]
			if c.want == "" {
				if len(m.Crypto) != 0 || m.isAudio() {
					t.Errorf("taken: %d keys", len(m.Crypto))
				}
				return
			}
			if len(m.Crypto) != 1 || m.Crypto[0].Suite != c.want || m.Crypto[0].Tag != c.tag || !m.isAudio() {
				t.Errorf("read as %+v", m.Crypto)
			}
		})
	}
}

func TestAnAnswerTakesTheKeyThatTheOfferLikesBestAndGivesOurs(t *testing.T) {
	plain := secured(t, "RTP/AVP")
	ours := NewKeys()
	l := local
	l.Keys = ours
	for _, proto := range []string{"RTP/SAVP", "RTP/AVP"} {
		offer := secured(t, proto, "4 F8_128_HMAC_SHA1_80 inline:"+keyText(30), "5 AES_CM_128_HMAC_SHA1_80 inline:"+keyText(30), "6 AEAD_AES_128_GCM inline:"+keyText(28))
		b, err := Answer(offer, plain, l)
		if err != nil {
			t.Fatal(err)
		}
		want := "a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:" + base64.StdEncoding.EncodeToString(ours[1]) + "\r\n"
		if s := string(b); !strings.Contains(s, " "+proto+" 8\r\n") || !strings.Contains(s, want) || strings.Count(s, "crypto") != 1 {
			t.Errorf("%s is answered\n%s", proto, s)
		}
		answer, err := Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		p, err := Protected(answer.Media[0], offer.Media[0])
		if err != nil || p == nil || p.Suite != CM80 || !bytes.Equal(p.Out, ours[1]) || !bytes.Equal(p.In, bytes.Repeat([]byte{0xA5}, 30)) {
			t.Errorf("%s: agreed on %v, %v", proto, p, err)
		}
	}
	b, err := Answer(plain, secured(t, "RTP/SAVP", "1 AEAD_AES_128_GCM inline:"+keyText(28)), l)
	if err != nil || strings.Contains(string(b), "crypto") || !strings.Contains(string(b), "RTP/AVP 8") {
		t.Errorf("an offer without SRTP is answered with the other leg's: %v\n%s", err, b)
	}
}

func TestAnOfferHasTheKeysOfItsProfileAndNothingOfTheOtherLegs(t *testing.T) {
	src := secured(t, "RTP/SAVP", "3 AES_CM_128_HMAC_SHA1_32 inline:"+keyText(30))
	l := local
	l.Keys = NewKeys()
	for profile, want := range map[Profile]struct {
		proto string
		keys  int
	}{Plain: {"RTP/AVP", 0}, Optional: {"RTP/AVP", 2}, Mandatory: {"RTP/SAVP", 2}} {
		l.Profile = profile
		s := string(Anchor(src, l))
		if !strings.Contains(s, " "+want.proto+" 8 0\r\n") || strings.Count(s, "a=crypto:") != want.keys {
			t.Errorf("profile %d offers\n%s", profile, s)
		}
		if strings.Contains(s, keyText(30)) {
			t.Error("the other leg's key is offered")
		}
		d, err := Parse([]byte(s))
		if err != nil || ProfileOf(d.Media[0]) != profile {
			t.Errorf("the profile of %q is read as %d, %v", s, ProfileOf(d.Media[0]), err)
		}
	}
}

func TestWhatMustBeProtectedAndIsNotIsRefused(t *testing.T) {
	l := local
	l.Keys, l.Profile = NewKeys(), Mandatory
	must, err := Parse(Anchor(secured(t, "RTP/AVP"), l))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := Protected(must.Media[0], secured(t, "RTP/AVP").Media[0]); p != nil || !errors.Is(err, ErrNotProtected) {
		t.Errorf("an answer without a key: %v, %v", p, err)
	}
	l.Profile = Optional
	may, err := Parse(Anchor(secured(t, "RTP/AVP"), l))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := Protected(may.Media[0], secured(t, "RTP/AVP").Media[0]); p != nil || err != nil {
		t.Errorf("an answer without a key to an offer of both: %v, %v", p, err)
	}
	// Some answer with a tag of their own.
	answer := secured(t, "RTP/AVP", "1 AES_CM_128_HMAC_SHA1_80 inline:"+keyText(30)).Media[0]
	if p, err := Protected(may.Media[0], answer); err != nil || p == nil || p.Suite != CM80 || !bytes.Equal(p.Out, l.Keys[1]) {
		t.Errorf("another tag: %v, %v", p, err)
	}
	if Rekeyed(answer, secured(t, "RTP/AVP", "2 AES_CM_128_HMAC_SHA1_80 inline:"+keyText(30)).Media[0]) {
		t.Error("the same key counts as another")
	}
	if other := base64.StdEncoding.EncodeToString(make([]byte, 30)); !Rekeyed(answer, secured(t, "RTP/AVP", "1 AES_CM_128_HMAC_SHA1_80 inline:"+other).Media[0]) {
		t.Error("another key counts as the same")
	}
}

// What a description keeps as it came has keys in it too, and people's names.
func TestADescriptionShowsNoKeyHoweverItIsPrinted(t *testing.T) {
	const number = "+919990000001"
	d := parse(t, "v=0\no=- 1 1 IN IP4 198.51.100.7\ns="+number+"\nk=clear:"+keyText(30)+"\nc=IN IP4 198.51.100.7\nm=audio 4000 RTP/SAVP 8\na=crypto:1 "+
		string(CM80)+" inline:"+keyText(30)+"\na=key-mgmt:mikey "+keyText(28)+"\n")
	m, ok := d.Audio()
	if !ok || len(m.Crypto) != 1 {
		t.Fatalf("%d keys were read", len(m.Crypto))
	}
	type holder struct {
		D *Description
		V Description
		M []Media
	}
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "pointer", d, "value", *d, "media", m, "lines", m.Lines, "line", m.Lines[1], "holder", holder{d, *d, d.Media})
	}
	shown := []string{log.String()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		for _, x := range []any{d, *d, m, &m, m.Lines, d.Lines[1], m.Crypto, holder{d, *d, d.Media}, []*Description{d}} {
			shown = append(shown, fmt.Sprintf(verb, x))
		}
	}
	for _, s := range shown {
		for _, secret := range []string{keyText(28), keyText(30), number, strings.Repeat("a5", 28), strings.Repeat("165 ", 8), fmt.Sprintf("%x", keyText(28))} {
			if strings.Contains(s, secret) {
				t.Errorf("%q stands in %s", secret, s)
			}
		}
	}
}

func TestAKeyShowsItselfNowhere(t *testing.T) {
	k := NewKeys()
	if bytes.Equal(k[1], NewKeys()[1]) || bytes.Equal(k[1], k[2]) {
		t.Error("two keys are the same")
	}
	p := &Protection{Suite: GCM, In: k[0], Out: k[0]}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "keys", k, "protection", p, "crypto", Crypto{Key: k[0]})
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "keys", k, "protection", p, "key", k[0])
	b, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{log.String(), string(b), fmt.Sprintf("%v %+v %#v %s %x %d %q", k, p, k, k[0], k[0], k[0], *p)} {
		for _, secret := range []string{string(k[0]), base64.StdEncoding.EncodeToString(k[0]), fmt.Sprintf("%x", []byte(k[0])), fmt.Sprint([]byte(k[0]))[1:20]} {
			if strings.Contains(s, secret) {
				t.Errorf("the key stands in %s", s)
			}
		}
	}
}
