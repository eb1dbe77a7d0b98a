package sdp

import (
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// This file is about the keys of SRTP in descriptions (SDES, RFC 4568).

// A Suite is a way to protect media, by the name that SDES gives it.
type Suite string

// The suites that we know (RFC 4568 §6.2, RFC 7714 §14.2). What is authenticated
// with 32 bits only is taken where a peer prefers it, and never offered.
const (
	GCM  Suite = "AEAD_AES_128_GCM"
	CM80 Suite = "AES_CM_128_HMAC_SHA1_80"
	CM32 Suite = "AES_CM_128_HMAC_SHA1_32"
)

// suites are those known, in the order in which Keys hold and offers name them.
var suites = [...]struct {
	name    Suite
	size    int // of a master key and its salt
	offered bool
}{{GCM, 16 + 12, true}, {CM80, 16 + 14, true}, {CM32, 16 + 14, false}}

// suiteNamed is the place of a suite among those known, -1 if it is not.
func suiteNamed(name string) int {
	for i := range suites {
		if strings.EqualFold(string(suites[i].name), name) {
			return i
		}
	}
	return -1
}

// A Key is a master key and its salt behind it. It is written into the
// descriptions of its leg and shows itself nowhere else, however it is printed.
type Key []byte

// Format prints nothing of the key.
func (Key) Format(s fmt.State, _ rune) { _, _ = s.Write([]byte("(key)")) }

// MarshalText hides the key from encoders, such as that of a log.
func (Key) MarshalText() ([]byte, error) { return []byte("(key)"), nil }

// Crypto is what one a=crypto line says: a key for what its writer sends.
type Crypto struct {
	Tag   int
	Suite Suite
	Key   Key `json:"-"` // whoever keeps a description keeps it by itself
}

// Keys are ours for one leg, one for each suite.
type Keys [len(suites)]Key

// NewKeys draws keys.
func NewKeys() (k Keys) {
	for i := range k {
		k[i] = make(Key, suites[i].size)
		_, _ = rand.Read(k[i]) // never fails: crypto/rand ends the program first
	}
	return k
}

// Profile is how an offer of ours wants media protected.
type Profile int

// The profiles of an offer. An answer has that of the offer.
const (
	Plain     Profile = iota // RTP
	Optional                 // RTP/AVP with keys: whoever answers with one has SRTP, anybody else RTP
	Mandatory                // RTP/SAVP
)

// Proto is the transport of an m= line with the profile.
func (p Profile) Proto() string {
	if p == Mandatory {
		return secureProto
	}
	return plainProto
}

const (
	plainProto  = "RTP/AVP"
	secureProto = "RTP/SAVP"
)

// ProfileOf is the profile of a stream of ours, for the next offer of it.
func ProfileOf(m Media) Profile {
	switch {
	case m.Proto == secureProto:
		return Mandatory
	case len(m.Crypto) > 0:
		return Optional
	}
	return Plain
}

// Offered are the lines for an offer with a profile. only is the suite that is in
// use already, and then stays; "" = any.
func (k Keys) Offered(p Profile, only Suite) (list []Crypto) {
	for i, s := range suites {
		if p != Plain && (s.name == only || only == "" && s.offered) {
			list = append(list, Crypto{len(list) + 1, s.name, k[i]})
		}
	}
	return list
}

// Accepted answers the lines of an offer: the first, which its writer likes best
// (RFC 4568 §5.1.2), with our key.
func (k Keys) Accepted(offer []Crypto) []Crypto {
	if len(offer) == 0 {
		return nil
	}
	c := offer[0]
	c.Key = k[suiteNamed(string(c.Suite))]
	return []Crypto{c}
}

// Protection is what protects the media between us and one side: In is the key of
// what comes from it, Out of what it gets.
type Protection struct {
	Suite   Suite
	In, Out Key
}

// Protected is what ours and theirs, an offer and its answer in either order,
// agree on; nil is plain RTP. It gives ErrNotProtected where either of them allows
// SRTP only and nothing is agreed on.
func Protected(ours, theirs Media) (*Protection, error) {
	for _, sameTag := range []bool{true, false} { // some answer with a tag of their own
		for _, o := range ours.Crypto {
			for _, t := range theirs.Crypto {
				if o.Suite == t.Suite && (o.Tag == t.Tag || !sameTag) {
					return &Protection{Suite: o.Suite, In: t.Key, Out: o.Key}, nil
				}
			}
		}
	}
	if ours.secure() || theirs.secure() {
		return nil, ErrNotProtected
	}
	return nil, nil
}

// Rekeyed reports whether a side has told other keys than before.
func Rekeyed(before, now Media) bool {
	return slices.CompareFunc(before.Crypto, now.Crypto, func(a, b Crypto) int {
		if a.Suite != b.Suite {
			return 1
		}
		return slices.Compare(a.Key, b.Key)
	}) != 0
}

// secure reports whether m is a stream that must be SRTP.
func (m Media) secure() bool { return strings.EqualFold(m.Proto, secureProto) }

// cryptos reads the a=crypto lines that we can use, in order of preference.
func cryptos(lines []Line) (list []Crypto) {
	attribute(lines, "crypto", func(value string) {
		if c, ok := crypto(value); ok {
			list = append(list, c)
		}
	})
	return list
}

// crypto reads "tag suite inline:key||salt[|lifetime] [session parameters]". The
// lifetime bounds what the writer sends, so it is his to keep. Not taken are a
// suite that we do not know, more keys than one, keys with an identifier (MKI), and
// session parameters that must be understood and change what is sent (§6.3).
func crypto(value string) (c Crypto, ok bool) {
	fields := strings.Fields(value)
	if len(fields) < 3 {
		return c, false
	}
	tag, err := strconv.ParseUint(fields[0], 10, 30)
	at := suiteNamed(fields[1])
	method, info, _ := strings.Cut(fields[2], ":")
	if err != nil || at < 0 || !strings.EqualFold(method, "inline") || strings.Contains(info, ";") {
		return c, false
	}
	text, rest, _ := strings.Cut(info, "|")
	if strings.Contains(rest, ":") { // MKI:length
		return c, false
	}
	for _, p := range fields[3:] {
		if name, _, _ := strings.Cut(p, "="); !strings.HasPrefix(p, "-") && !strings.EqualFold(name, "WSH") {
			return c, false
		}
	}
	key, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	if err != nil || len(key) != suites[at].size {
		return c, false
	}
	return Crypto{Tag: int(tag), Suite: suites[at].name, Key: key}, true
}

// Attribute writes c as the value of an a= line, key and all.
func (c Crypto) Attribute() string {
	return "crypto:" + strconv.Itoa(c.Tag) + " " + string(c.Suite) + " inline:" + base64.StdEncoding.EncodeToString(c.Key)
}
