package e2e

import (
	"crypto/tls"
	"net"
	"os"
	"path/filepath"
	"testing"

	"tandem/internal/testkit/ca"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/siptx"
	"tandem/test/world"
)

// secrets are the files that a server on TLS reads, and the authority of all.
type secrets struct {
	*ca.Authority
	t   *testing.T
	dir string
}

func newSecrets(t *testing.T) *secrets {
	t.Helper()
	s := &secrets{ca.New(t), t, t.TempDir()}
	s.issue(s.Authority)
	s.write("ca.pem", s.PEM())
	return s
}

// issue gives the server a new certificate of an authority.
func (s *secrets) issue(by *ca.Authority) {
	cert, key := ca.PEM(s.t, by.Issue("127.0.0.1", "::1"))
	s.write("cert.pem", cert)
	s.write("key.pem", key)
}

func (s *secrets) write(name string, what []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), what, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

// shown are the credentials of a phone at an address.
func (s *secrets) shown(address string, believes *ca.Authority) *siptx.Credentials {
	return &siptx.Credentials{Certificate: s.Issue(address), Authorities: believes.Pool()}
}

// over puts a stage on TLS, its callee perhaps on something else.
func (s *secrets) over(networkOut string) setting {
	return setting{network: "tls", networkOut: networkOut,
		environ: world.TLS(s.dir),
		in:      func(o *phone.Options) { o.Credentials = s.shown("127.0.0.2", s.Authority) },
		out:     func(o *phone.Options) { o.Credentials = s.shown("127.0.0.3", s.Authority) }}
}

func TestCallsGoOverTLSBothWaysAndFromTLSToTheOthers(t *testing.T) {
	t.Parallel()
	for _, out := range []string{"tls", "tcp", "udp"} {
		t.Run("to "+out, func(t *testing.T) {
			st := newStage(t, newSecrets(t).over(out))
			st.allocate(nil)
			for i, c := range []struct {
				p        *phone.Phone
				from, to string
				via      string
			}{{st.in, alice, bob, "tls"}, {st.out, bob, alice, out}} {
				a := st.dial(c.p, c.from, func(in *phone.Invite) { in.Audio, in.Via = phone.Sine(440, 8000), st.SIP(c.via) })
				b := st.called()
				if seen := b.Seen(); seen.From != virtual || seen.RequestUser != c.to {
					t.Errorf("%s was called by %q", seen.RequestUser, seen.From)
				}
				st.must(b.Answer(phone.Reply{Audio: phone.Sine(880, 8000)}))
				st.must(a.Answered(st.ctx))
				st.must(b.HearsTone(st.ctx, 440))
				st.must(a.HearsTone(st.ctx, 880))
				st.must(a.Hold(st.ctx))
				st.must(b.Reinvite(st.ctx, phone.Offer{}))
				if i == 0 {
					st.must(a.Hangup(st.ctx))
				} else {
					st.must(b.Hangup(st.ctx))
				}
				st.over(a, b)
				st.settle()
			}
		})
	}
}

func TestATalkingCallOutlivesTheCertificateItBeganWith(t *testing.T) {
	t.Parallel()
	s := newSecrets(t)
	st := newStage(t, s.over("tls"))
	st.allocate(nil)
	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))

	renewed := ca.New(t)
	s.write("key.pem", []byte("half written"))
	if err := st.App.ReloadCertificates(); err == nil {
		t.Error("a key that is none is taken")
	}
	s.issue(renewed)
	st.must(st.App.ReloadCertificates())
	from := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	if c, err := tls.DialWithDialer(from, "tcp", st.SIP("tls").String(), &tls.Config{RootCAs: renewed.Pool()}); err != nil {
		t.Errorf("the new certificate is not shown: %v", err)
	} else {
		_ = c.Close()
	}
	st.must(a.Hold(st.ctx)) // over the connection there is
	st.must(a.Resume(st.ctx))
	st.must(b.Hangup(st.ctx))
	st.over(a, b)
	st.settle()
}

func TestACarrierWhoseCertificateIsAnothersIsNotCalled(t *testing.T) {
	t.Parallel()
	s := newSecrets(t)
	stage := s.over("tls")
	stage.out = func(o *phone.Options) { o.Credentials = s.shown("127.0.0.9", s.Authority) }
	st := newStage(t, stage)
	st.allocate(nil)
	if status := st.refused(st.dial(st.in, alice)); status/100 != 5 && status/100 != 4 {
		t.Errorf("status %d", status)
	}
	st.nobodyCalled()
	st.settle()
}
