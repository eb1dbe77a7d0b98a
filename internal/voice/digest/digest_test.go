package digest

import (
	"strings"
	"testing"
)

// The example of RFC 7616 §3.9.1, and that of RFC 2617 §3.5.
func TestTheExamplesOfTheStandardsComeOut(t *testing.T) {
	const nonce = `7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v`
	for _, c := range []struct{ challenge, cnonce, password, want string }{
		{`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=MD5, nonce="` + nonce + `", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
			"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "Circle of Life", "8ca523f5e9506fed4657c9700eebdbec"},
		{`Digest realm="http-auth@example.org", qop="auth, auth-int", algorithm=SHA-256, nonce="` + nonce + `", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"`,
			"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ", "Circle of Life", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"},
		{`Digest realm="testrealm@host.com", qop="auth,auth-int", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41"`,
			"0a4f113b", "Circle Of Life", "6629fae49393a05397450978507c4ef1"},
	} {
		ch, ok := ParseChallenge(c.challenge)
		if !ok {
			t.Fatalf("%s is no challenge", c.challenge)
		}
		s := NewSession(ch, c.cnonce)
		answer := s.Answer(Account{"Mufasa", c.password}, "GET", "/dir/index.html")
		if !strings.Contains(answer, `response="`+c.want+`"`) || !strings.Contains(answer, "nc=00000001") {
			t.Errorf("answer %s, want %s", answer, c.want)
		}
		if second := s.Answer(Account{"Mufasa", c.password}, "GET", "/dir/index.html"); !strings.Contains(second, "nc=00000002") {
			t.Errorf("the second answer is %s", second)
		}
	}
}

func TestAnAnswerProvesThePasswordForItsMethodOnly(t *testing.T) {
	for _, head := range []string{
		`Digest realm="r", nonce="n"`, `digest  REALM = "r" ,nonce="n",qop=auth`, `Digest realm="r", nonce="n", qop="auth", algorithm=sha-256`,
		`Digest realm="r", nonce="n", qop="auth", algorithm=SHA-512-256`, `Digest realm="r", nonce="n", qop="auth", algorithm=MD5-sess`,
		`Digest realm="r", nonce="n", algorithm=SHA-256-sess`, `Digest realm="a \"b\" \\ c", nonce="n", qop="auth-int,auth", opaque="\"", stale=TRUE, charset=UTF-8`,
	} {
		c, ok := ParseChallenge(head)
		if !ok {
			t.Errorf("%s is no challenge", head)
			continue
		}
		a, ok := ParseAuthorization(NewSession(c, "cn").Answer(Account{"acme", "hush"}, "INVITE", "sip:+1@h;x=y"))
		if !ok || a.Username != "acme" || a.Realm != c.Realm || a.Nonce != "n" || a.URI != "sip:+1@h;x=y" {
			t.Errorf("%s: answer %+v, %v", head, a, ok)
		}
		if !a.Proves("hush", "INVITE") || a.Proves("hush", "BYE") || a.Proves("Hush", "INVITE") {
			t.Errorf("%s: the answer proves too little or too much", head)
		}
	}
}

func TestWhatCannotBeAnsweredIsNoChallenge(t *testing.T) {
	for _, head := range []string{"", "Digest", "Digest ", "Digest realm", `Basic realm="r"`, `Digestrealm="r", nonce="n"`, `Digest realm="r"`,
		`Digest realm="r", nonce="n`, `Digest realm="r" nonce="n"`, `Digest nonce="n", nonce="m"`, `Digest nonce="n", algorithm=MD4`,
		`Digest nonce="n", qop="auth-int"`, `Digest nonce="n", algorithm=AKAv1-MD5`, `Digest nonce="` + strings.Repeat("n", 2000) + `"`,
		`Digest nonce=a"b`, "Digest nonce=\"a\r\nb\"", `Digest ="x", nonce="n"`} {
		if c, ok := ParseChallenge(head); ok {
			t.Errorf("%q is %+v", head, c)
		}
	}
}

func TestTheStrongerAlgorithmIsBetter(t *testing.T) {
	var last Challenge
	for i, name := range []string{"MD5", "SHA-256", "SHA-512-256"} {
		c, _ := ParseChallenge(`Digest nonce="n", algorithm=` + name)
		if i > 0 && (!c.Better(last) || last.Better(c)) {
			t.Errorf("%s is not better than the one before", name)
		}
		last = c
	}
}

func FuzzChallenge(f *testing.F) {
	f.Add(`Digest realm="a \"b\"", nonce="n", qop="auth", algorithm=SHA-256-sess, opaque="\\"`)
	f.Add(`Digest realm=r,nonce=n`)
	f.Fuzz(func(t *testing.T, head string) {
		c, ok := ParseChallenge(head)
		if !ok {
			return
		}
		answer := NewSession(c, "cn").Answer(Account{"u", "p"}, "BYE", "sip:h")
		if strings.ContainsAny(answer, "\r\n") {
			t.Fatalf("the answer to %q is more than a line", head)
		}
		if a, ok := ParseAuthorization(answer); !ok || !a.Proves("p", "BYE") || a.Realm != c.Realm {
			t.Fatalf("the answer to %q is not one: %s", head, answer)
		}
	})
}
