package sipua

import (
	"strings"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/digest"
)

const hush = "hush-hush"

// account gives trunks a password.
func account(o *Options) {
	o.Password = func(masking.Trunk) (string, error) { return hush, nil }
}

// member is a rig with one trunk of one peer, at which it has an account.
func member(t *testing.T, edit ...func(*masking.Trunk)) (*rig, *peer) {
	t.Helper()
	r := newRig(t, account)
	p := r.peer("127.0.0.2")
	tr := trunk("one", p)
	tr.Auth = masking.Credentials{Username: "acme", Realm: "carrier.example", Sealed: []byte("x")}
	for _, f := range edit {
		f(&tr)
	}
	r.ua.SetTrunks([]masking.Trunk{tr})
	return r, p
}

const challenge = `WWW-Authenticate: Digest realm="carrier.example", qop="auth", algorithm=MD5, nonce="`

// proven checks the answer to a challenge.
func (m msg) proven(t *testing.T, header, nonce string) digest.Authorization {
	t.Helper()
	a, ok := digest.ParseAuthorization(m.field(header))
	method, _, _ := strings.Cut(m.start(), " ")
	if !ok || a.Username != "acme" || a.Nonce != nonce || a.URI != m.requestURI() || !a.Proves(hush, method) {
		t.Fatalf("%s: %s is no proof", m.start(), m.field(header))
	}
	return a
}

// repeatsNone fails if another INVITE comes than the last; that one may have been
// sent again by its transaction.
func (p *peer) repeatsNone(t *testing.T, last msg) {
	t.Helper()
	p.sync()
	for _, m := range p.all() {
		if strings.HasPrefix(m.start(), "INVITE ") && m.cseq() != last.cseq() {
			t.Errorf("one more: %s", m)
		}
	}
}

func (m msg) cseq() string { n, _, _ := strings.Cut(m.field("CSeq"), " "); return n }

func (m msg) branch() string {
	_, b, _ := strings.Cut(m.field("Via"), "branch=")
	b, _, _ = strings.Cut(b, ";")
	return b
}

func TestAChallengedInviteIsSentOnceMoreWithCredentials(t *testing.T) {
	for _, kind := range []struct {
		status                  int
		challenge, proof, other string
	}{{401, challenge, "Authorization", "Proxy-Authorization"},
		{407, strings.Replace(challenge, "WWW", "Proxy", 1), "Proxy-Authorization", "Authorization"}} {
		r, p := member(t)
		leg, ev := r.dial()
		first := p.expect("INVITE ")
		if first.field("Authorization") != "" {
			t.Error("credentials for nobody")
		}
		p.send(first.reply(kind.status, "door", "", kind.challenge+`n1"`))
		if ack := p.expect("ACK "); ack.cseq() != "1" || ack.branch() != first.branch() || ack.toTag() != "door" {
			t.Errorf("ACK of the challenge: %s", ack)
		}
		second := p.expect("INVITE ")
		if a := second.proven(t, kind.proof, "n1"); a.Count != 1 || second.field(kind.other) != "" {
			t.Errorf("count %d, %s", a.Count, second.field(kind.other))
		}
		if second.cseq() != "2" || second.branch() == first.branch() || second.field("Call-ID") != first.field("Call-ID") ||
			second.field("From") != first.field("From") || second.field("To") != first.field("To") || second.body() != first.body() {
			t.Errorf("repeated as\n%s\nof\n%s", second, first)
		}
		p.send(second.reply(200, "far", sdpBody, "Contact: <sip:peer@"+p.addr.String()+">"))
		if ack := p.expect("ACK "); ack.cseq() != "2" || ack.toTag() != "far" {
			t.Errorf("ACK of the answer: %s", ack)
		}
		ev.next(t, b2bua.EvAnswered)
		leg.End(b2bua.Reason{})
		bye := p.expect("BYE ")
		if bye.cseq() != "3" || bye.proven(t, kind.proof, "n1").Count != 2 {
			t.Errorf("%s", bye)
		}
		p.send(bye.reply(200, "", ""))
		ev.next(t, b2bua.EvGone)
		r.gone()
	}
}

// One of the twenty defects: digest on re-INVITE and BYE. The BYE of a leg that
// the peer called is challenged as well.
func TestAByeThatIsChallengedIsSentOnceMore(t *testing.T) {
	r, p := member(t)
	_, c := r.established(p)
	c.Leg.End(b2bua.Reason{})
	bye := p.expect("BYE ")
	p.send(bye.reply(407, "", "", strings.Replace(challenge, "WWW", "Proxy", 1)+`n1"`))
	again := p.await("second BYE", func(m msg) bool { return strings.HasPrefix(m.start(), "BYE") && m.cseq() == "2" })
	again.proven(t, "Proxy-Authorization", "n1")
	if again.branch() == bye.branch() || again.field("To") != bye.field("To") || again.field("Call-ID") != bye.field("Call-ID") {
		t.Errorf("%s", again)
	}
	c.none(t)
	p.send(again.reply(200, "", ""))
	c.next(t, b2bua.EvGone)
}

func TestAReInviteThatIsChallengedIsSentOnceMore(t *testing.T) {
	r, p := member(t)
	_, c := r.established(p)
	c.Leg.Offer([]byte(sdpBody))
	first := p.expect("INVITE ")
	p.send(first.reply(401, "", "", challenge+`n1"`))
	p.expect("ACK ")
	second := p.expect("INVITE ")
	second.proven(t, "Authorization", "n1")
	if second.cseq() != "2" || second.body() != sdpBody || second.field("To") != first.field("To") || second.field("Contact") != first.field("Contact") {
		t.Errorf("%s", second)
	}
	p.send(second.reply(200, "", sdpBody, "Contact: <sip:peer@"+p.addr.String()+">"))
	if ack := p.expect("ACK "); ack.cseq() != "2" {
		t.Errorf("%s", ack)
	}
	c.next(t, b2bua.EvAgreed)
	c.Leg.End(b2bua.Reason{})
	bye := p.expect("BYE ")
	if bye.cseq() != "3" || bye.proven(t, "Authorization", "n1").Count != 2 {
		t.Errorf("%s", bye)
	}
}

func TestAStaleNonceIsReplacedAndAWrongPasswordIsNotTriedAgain(t *testing.T) {
	r, p := member(t)
	_, ev := r.dial()
	p.send(p.expect("INVITE ").reply(401, "x", "", challenge+`n1"`))
	p.expect("ACK ")
	p.send(p.expect("INVITE ").reply(401, "x", "", challenge+`n2", stale=true`))
	p.expect("ACK ")
	third := p.expect("INVITE ")
	third.proven(t, "Authorization", "n2")
	p.send(third.reply(401, "x", "", challenge+`n3"`))
	if e := ev.next(t, b2bua.EvFailed); e.Status != 401 || e.Retry {
		t.Errorf("%+v", e)
	}
	ev.next(t, b2bua.EvGone)
	p.repeatsNone(t, third)
}

func TestAProxyAndTheServerBehindItAreBothAnswered(t *testing.T) {
	r, p := member(t, func(tr *masking.Trunk) { tr.Auth.Realm = "" })
	_, ev := r.dial()
	p.send(p.expect("INVITE ").reply(407, "x", "", `Proxy-Authenticate: Digest realm="edge", nonce="e1"`))
	p.expect("ACK ")
	p.send(p.expect("INVITE ").reply(401, "x", "", `WWW-Authenticate: Digest realm="core", nonce="c1"`))
	p.expect("ACK ")
	third := p.expect("INVITE ")
	third.proven(t, "Proxy-Authorization", "e1")
	third.proven(t, "Authorization", "c1")
	p.accept(third, "far")
	ev.next(t, b2bua.EvAnswered)
}

func TestTheBestAlgorithmOfARealmIsChosen(t *testing.T) {
	r, p := member(t)
	r.dial()
	p.send(p.expect("INVITE ").reply(401, "x", "", challenge+`n1"`, strings.Replace(challenge, "MD5", "SHA-256", 1)+`n1"`,
		`WWW-Authenticate: Digest realm="carrier.example", qop="auth", algorithm=SHA3-512, nonce="n1"`))
	p.expect("ACK ")
	second := p.expect("INVITE ")
	second.proven(t, "Authorization", "n1")
	if all := second.fields("Authorization"); len(all) != 1 || !strings.Contains(all[0], "algorithm=SHA-256,") {
		t.Errorf("answers %v", all)
	}
}

func TestAChallengeThatIsNotForUsIsARefusal(t *testing.T) {
	for name, c := range map[string]struct {
		challenge string
		edit      func(*masking.Trunk)
	}{
		"another realm":    {strings.Replace(challenge, "carrier.example", "evil.example", 1) + `n1"`, nil},
		"no account":       {challenge + `n1"`, func(tr *masking.Trunk) { tr.Auth = masking.Credentials{} }},
		"another scheme":   {`WWW-Authenticate: Basic realm="carrier.example"`, nil},
		"unknown algoritm": {`WWW-Authenticate: Digest realm="carrier.example", nonce="n", algorithm=X`, nil},
		"no challenge":     {"X-Nothing: at all", nil},
	} {
		edit := c.edit
		if edit == nil {
			edit = func(*masking.Trunk) {}
		}
		r, p := member(t, edit)
		_, ev := r.dial()
		p.send(p.expect("INVITE ").reply(401, "x", "", c.challenge))
		if e := ev.next(t, b2bua.EvFailed); e.Status != 401 {
			t.Errorf("%s: %+v", name, e)
		}
		ev.next(t, b2bua.EvGone)
	}
}

func TestAnInviteGivenUpWhileItIsChallengedIsNotSentAgain(t *testing.T) {
	r, p := member(t)
	leg, ev := r.dial()
	first := p.expect("INVITE ")
	p.send(first.reply(100, "", ""))
	leg.End(b2bua.Reason{})
	p.send(p.expect("CANCEL ").reply(200, "", ""))
	p.send(first.reply(401, "x", "", challenge+`n1"`))
	ev.next(t, b2bua.EvGone)
	p.repeatsNone(t, first)
}

func TestACancelOfAnInviteThatWasChallengedIsOfTheSecondAndBearsNoCredentials(t *testing.T) {
	r, p := member(t)
	leg, ev := r.dial()
	p.send(p.expect("INVITE ").reply(401, "x", "", challenge+`n1"`))
	p.expect("ACK ")
	second := p.expect("INVITE ")
	p.send(second.reply(180, "far", ""))
	ev.next(t, b2bua.EvRinging)
	leg.End(b2bua.Reason{})
	cancel := p.expect("CANCEL ")
	if cancel.cseq() != "2" || cancel.branch() != second.branch() || cancel.field("Authorization") != "" {
		t.Errorf("%s", cancel)
	}
	p.send(cancel.reply(200, "", ""))
	p.send(second.reply(487, "far", ""))
	ev.next(t, b2bua.EvGone)
}

// What the peer writes into a challenge must not become a question of his whether
// it is the hidden number.
func TestAHiddenNumberInAChallengeStopsNothing(t *testing.T) {
	r, p := member(t, func(tr *masking.Trunk) { tr.Auth.Realm = "" })
	_, ev := r.dial()
	p.send(p.expect("INVITE ").reply(401, "x", "", `WWW-Authenticate: Digest realm="`+alice+`", nonce="`+alice+`"`))
	p.expect("ACK ")
	p.accept(p.expect("INVITE "), "far")
	ev.next(t, b2bua.EvAnswered)
	if n := r.ua.Blocked(); n != 0 {
		t.Errorf("%d messages blocked", n)
	}
}
