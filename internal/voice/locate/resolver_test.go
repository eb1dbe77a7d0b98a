package locate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/testkit/names"
)

// plain asks for the address of sip.example.
var plain = Query{Host: "sip.example", Port: 5060, Reach: Reach{{"udp", false}}}

func TestAnAnswerThatDoesNotFitIsAskedForOverTCP(t *testing.T) {
	s := names.New(t)
	var zone []string
	for i := range 40 {
		zone = append(zone, fmt.Sprintf(`_sip._udp.sip.example. 60 IN SRV 1 1 5060 server-with-a-long-name-%d.sip.example.`, i))
	}
	s.Set(append(zone, `server-with-a-long-name-7.sip.example. 60 IN A 192.0.2.7`)...)
	var overTCP atomic.Int32
	s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
		if w.RemoteAddr().Network() == "tcp" {
			overTCP.Add(1)
		}
		return false
	})
	records, err := newResolver(s).ask(t.Context(), dns.Question{Name: "_sip._udp.sip.example.", Qtype: dns.TypeSRV, Qclass: dns.ClassINET})
	if err != nil || len(records) != 40 || overTCP.Load() != 1 {
		t.Errorf("%d records (%v), %d questions over TCP", len(records), err, overTCP.Load())
	}
}

func TestTheNextServerIsAskedWhenOneFails(t *testing.T) {
	bad, good := names.New(t), names.New(t)
	good.Set(`sip.example. 60 IN A 192.0.2.1`)
	for name, odd := range map[string]func(dns.ResponseWriter, *dns.Msg) bool{
		"SERVFAIL": func(w dns.ResponseWriter, ask *dns.Msg) bool {
			return w.WriteMsg(new(dns.Msg).SetRcode(ask, dns.RcodeServerFailure)) == nil
		},
		"REFUSED": func(w dns.ResponseWriter, ask *dns.Msg) bool {
			return w.WriteMsg(new(dns.Msg).SetRcode(ask, dns.RcodeRefused)) == nil
		},
		"silence": func(dns.ResponseWriter, *dns.Msg) bool { return true },
		"garbage": func(w dns.ResponseWriter, _ *dns.Msg) bool { _, err := w.Write([]byte("garbage")); return err == nil },
	} {
		bad.Odd(odd)
		r := newResolver(bad, good)
		r.timeout = 100 * time.Millisecond
		found, err := r.Find(t.Context(), plain)
		if err != nil || len(found.Records) != 1 {
			t.Errorf("%s: found %v (%v)", name, list(found), err)
		}
	}
}

func TestServersThatFailAreToldOfAndTheirRecoveryIsNoticed(t *testing.T) {
	s := names.New(t)
	s.Set(`sip.example. 60 IN A 192.0.2.1`)
	r := newResolver(s)
	r.timeout = 100 * time.Millisecond
	s.Odd(func(dns.ResponseWriter, *dns.Msg) bool { return true })
	if _, err := r.Find(t.Context(), plain); !errors.Is(err, errNoAnswer) || !strings.HasPrefix(err.Error(), "A of sip.example: 127.0.0.1:") {
		t.Errorf("silence: %v", err)
	}
	s.Fail(dns.RcodeServerFailure)
	if _, err := r.Find(t.Context(), plain); err == nil || !strings.Contains(err.Error(), "SERVFAIL") {
		t.Errorf("failure: %v", err)
	}
	if s.Asked() != 2*rounds {
		t.Errorf("asked %d times", s.Asked())
	}
	s.Odd(nil)
	if found, err := r.Find(t.Context(), plain); err != nil || len(found.Records) != 1 {
		t.Errorf("recovered: %v (%v)", list(found), err)
	}
}

// forged are answers that an attacker could send who does not see the question.
var forged = map[string]func(*dns.Msg){
	"another id":       func(m *dns.Msg) { m.Id++ },
	"another name":     func(m *dns.Msg) { m.Question[0].Name = "other.example." },
	"another type":     func(m *dns.Msg) { m.Question[0].Qtype = dns.TypeAAAA },
	"another class":    func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS },
	"no question":      func(m *dns.Msg) { m.Question = nil },
	"a question":       func(m *dns.Msg) { m.Response = false },
	"another opcode":   func(m *dns.Msg) { m.Opcode = dns.OpcodeNotify },
	"two questions":    func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) },
	"NXDOMAIN, forged": func(m *dns.Msg) { m.Id, m.Rcode = m.Id+1, dns.RcodeNameError },
}

func TestWhatDoesNotAnswerTheQuestionIsPassedOver(t *testing.T) {
	s := names.New(t)
	s.Set(`sip.example. 60 IN A 192.0.2.1`)
	for name, forge := range forged {
		s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
			m := new(dns.Msg).SetReply(ask)
			m.RecursionAvailable = true
			evil, _ := dns.NewRR(`sip.example. 86400 IN A 198.51.100.66`)
			m.Answer = []dns.RR{evil}
			forge(m)
			_ = w.WriteMsg(m)                // the right one follows
			_, _ = w.Write([]byte{0, 1, 2})  // not even a header
			_, _ = w.Write(make([]byte, 12)) // a header of nothing
			return false
		})
		found, err := newResolver(s).Find(t.Context(), plain)
		if err != nil || !slices.Equal(list(found), []string{"address udp 192.0.2.1:5060"}) {
			t.Errorf("%s: found %v (%v)", name, list(found), err)
		}
	}
}

func TestOverTCPAWrongAnswerEndsTheAttempt(t *testing.T) {
	s := names.New(t)
	s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
		m := new(dns.Msg).SetReply(ask)
		m.Truncated = w.RemoteAddr().Network() == "udp"
		if !m.Truncated {
			m.Id++
		}
		return w.WriteMsg(m) == nil
	})
	if found, err := newResolver(s).Find(t.Context(), plain); !errors.Is(err, errMismatch) {
		t.Errorf("found %v (%v)", list(found), err)
	}
}

func TestIDsAndPortsOfQuestionsAreOfChance(t *testing.T) {
	s := names.New(t)
	s.Set(`sip.example. 60 IN A 192.0.2.1`)
	ids, ports := make(chan uint16, 64), make(chan string, 64)
	s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
		ids <- ask.Id
		ports <- w.RemoteAddr().String()
		return false
	})
	seenIDs, seenPorts := map[uint16]bool{}, map[string]bool{}
	for range 32 {
		if _, err := newResolver(s).Find(t.Context(), plain); err != nil {
			t.Fatal(err)
		}
		seenIDs[<-ids], seenPorts[<-ports] = true, true
	}
	if len(seenIDs) < 28 || len(seenPorts) < 8 { // a system may give a port again
		t.Errorf("%d ids and %d ports in 32 questions", len(seenIDs), len(seenPorts))
	}
}

func TestALookupEndsWithItsContext(t *testing.T) {
	s := names.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	s.Odd(func(dns.ResponseWriter, *dns.Msg) bool { cancel(); return true })
	if found, err := newResolver(s).Find(ctx, plain); err == nil {
		t.Errorf("found %v", list(found))
	}
}

func TestTheSystemsServersAreReadFromResolvConf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	for text, want := range map[string]string{
		"# mine\nnameserver 192.0.2.53\nsearch example\nnameserver 2001:db8::53\n": "192.0.2.53:53 [2001:db8::53]:53",
		"nameserver fe80::1%eth0\n": "[fe80::1%eth0]:53",
		"nameserver 1.1.1.1\nnameserver 1.1.1.2\nnameserver 1.1.1.3\nnameserver 1.1.1.4\n":            "1.1.1.1:53 1.1.1.2:53 1.1.1.3:53",
		"nameserver\nnameserver nonsense\noptions timeout:99999999999999999999 attempts:x ndots:-1\n": "127.0.0.1:53",
		"": "127.0.0.1:53",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range systemServers(path) {
			got = append(got, a.String())
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q: %v, want %s", text, got, want)
		}
	}
	if got := systemServers(path + ".none"); len(got) != 1 || got[0] != netip.MustParseAddrPort("127.0.0.1:53") {
		t.Errorf("without a file: %v", got)
	}
}

// Nothing that a server sends makes us panic, go on for ever, or take more than the
// bounds.
func FuzzAnswer(f *testing.F) {
	for _, line := range full {
		rr, err := dns.NewRR(line)
		if err != nil {
			f.Fatal(err)
		}
		ask := new(dns.Msg).SetQuestion(rr.Header().Name, rr.Header().Rrtype)
		raw, err := names.Answer([]dns.RR{rr}, ask, "tcp").Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw[2:])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		asked := 0
		s := &search{reach: everything, host: "sip.example.", answer: func(q dns.Question) ([]dns.RR, error) {
			asked++
			ask := new(dns.Msg).SetQuestion(q.Name, q.Qtype)
			id := []byte{byte(ask.Id >> 8), byte(ask.Id)}
			if m, ok := answers(bytes.Join([][]byte{id, raw}, nil), ask); ok {
				return m.Answer, nil
			}
			m := &dns.Msg{}
			if m.Unpack(append(id, raw...)) != nil {
				return nil, errNoAnswer
			}
			return m.Answer, nil // as if it were to this question
		}}
		n := 0
		for _, r := range s.preferred() {
			n += len(r.Addrs)
		}
		if n > maxRecords*maxAddrs || asked > maxQuestions {
			t.Fatalf("%d addresses by %d questions", n, asked)
		}
	})
}
