package sipua

import (
	"strings"
	"testing"
	"time"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
)

// registers makes a trunk want a registration, and no OPTIONS.
func registers(tr *masking.Trunk) {
	tr.Register = masking.Registration{Domain: "carrier.example", ContactUser: "acme-1", Expires: time.Hour}
	tr.Sources = nil
}

// registered answers REGISTERs until one is taken, and gives that.
func registered(t *testing.T, r *rig, p *peer, expires string) msg {
	t.Helper()
	first := p.expect("REGISTER ")
	p.send(first.reply(401, "reg", "", challenge+`r1"`))
	second := p.expect("REGISTER ")
	second.proven(t, "Authorization", "r1")
	p.send(second.reply(200, "reg", "", "Contact: "+second.field("Contact")+";expires="+expires))
	r.until("the trunk is registered", func() bool {
		h := r.ua.TrunkHealth("one")
		return h.Registration != nil && h.Registration.State == "registered"
	})
	return second
}

// takenBack has the agent drain, agrees to the REGISTER that this brings and gives it.
func (p *peer) takenBack(r *rig) msg {
	p.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); r.ua.Drain() }()
	last := p.expect("REGISTER ")
	p.send(last.reply(200, "reg", ""))
	<-done
	return last
}

func TestATrunkRegistersRefreshesAndTakesItBackWhenItDrains(t *testing.T) {
	r, p := member(t, registers)
	r.ua.Keep()
	second := registered(t, r, p, "1")
	if second.requestURI() != "sip:carrier.example" || !strings.HasPrefix(second.field("From"), "<sip:acme@carrier.example>;tag=") ||
		second.field("To") != "<sip:acme@carrier.example>" || second.field("Contact") != "<sip:acme-1@"+r.udp.String()+">" ||
		second.field("Expires") != "3600" || second.cseq() != "2" {
		t.Errorf("%s", second)
	}
	third := p.expect("REGISTER ") // before the second is over
	if third.field("Call-ID") != second.field("Call-ID") || third.cseq() != "3" {
		t.Errorf("%s", third)
	}
	third.proven(t, "Authorization", "r1")
	p.send(third.reply(200, "reg", "", "Expires: 3600"))
	r.until("the refresh is taken", func() bool {
		return time.Until(r.ua.TrunkHealth("one").Registration.Until) > time.Minute
	})
	if last := p.takenBack(r); last.field("Expires") != "0" || last.field("Contact") != second.field("Contact") || last.cseq() != "4" {
		t.Errorf("%s", last)
	}
}

func TestARegistrarThatWantsLongerRegistrationsGetsThem(t *testing.T) {
	r, p := member(t, registers)
	r.ua.Keep()
	p.send(p.expect("REGISTER ").reply(423, "reg", "", "Min-Expires: 7200"))
	second := p.expect("REGISTER ")
	if second.field("Expires") != "7200" {
		t.Errorf("%s", second)
	}
	p.send(second.reply(200, "reg", ""))
	r.until("the trunk is registered", func() bool { return r.ua.TrunkHealth("one").Registration.State == "registered" })
	if left := time.Until(r.ua.TrunkHealth("one").Registration.Until); left < 7100*time.Second {
		t.Errorf("registered for %v", left)
	}
	p.takenBack(r)
}

func TestARefusedRegistrationIsShownAndTriedLater(t *testing.T) {
	r, p := member(t, registers)
	r.ua.Keep()
	p.send(p.expect("REGISTER ").reply(403, "reg", ""))
	r.until("the failure is shown", func() bool { return r.ua.TrunkHealth("one").Registration.State == "failing" })
	if h := r.ua.TrunkHealth("one").Registration; h.LastStatus != 403 || h.FailuresInRow != 1 {
		t.Errorf("%+v", h)
	}
	for n, most := range map[int]time.Duration{1: 30 * time.Second, 2: time.Minute, 20: 30 * time.Minute, 1000: 30 * time.Minute} {
		for range 100 {
			if w := backoff(n, -time.Hour); w < most/2 || w > most {
				t.Fatalf("after %d failures %v", n, w)
			}
			if w := backoff(n, 20*time.Second); w > 10*time.Second {
				t.Fatalf("after %d failures %v, with 20 s left", n, w)
			}
			if w := backoff(n, time.Millisecond); w != leastBackoff {
				t.Fatalf("after %d failures %v, with nothing left", n, w)
			}
		}
	}
}

func TestARegistrationWhoseRefreshHasFailedIsTakenBack(t *testing.T) {
	t.Parallel()
	for name, refuse := range map[string]bool{"it was refused": true, "it is under way": false} {
		t.Run(name, func(t *testing.T) {
			r, p := member(t, registers)
			begun := time.Now()
			r.ua.o.Clock = func() time.Time { return begun } // what is granted stands
			r.ua.Keep()
			registered(t, r, p, "1")
			refresh := p.expect("REGISTER ")
			if refuse {
				p.send(refresh.reply(500, "reg", ""))
				r.until("the failure is shown", func() bool { return r.ua.TrunkHealth("one").Registration.State == "failing" })
			}
			if last := p.takenBack(r); last.field("Expires") != "0" || last.field("Contact") != refresh.field("Contact") {
				t.Errorf("%s", last)
			}
		})
	}
}

func TestARegistrationThatMayStandIsTakenBackAndNoOther(t *testing.T) {
	for name, refuse := range map[string]bool{"it was refused": true, "it is under way": false} {
		t.Run(name, func(t *testing.T) {
			r, p := member(t, registers)
			r.ua.Keep()
			first := p.expect("REGISTER ")
			if refuse {
				p.send(first.reply(403, "reg", ""))
				r.until("the failure is shown", func() bool { return r.ua.TrunkHealth("one").Registration.State == "failing" })
			}
			if refuse {
				r.ua.Drain()
			} else if last := p.takenBack(r); last.field("Expires") != "0" {
				t.Errorf("%s", last)
			}
			p.sync()
			if got := p.got(); len(got) != 0 {
				t.Errorf("sent %v", got)
			}
		})
	}
}

func TestAChangedAccountIsRegisteredAfterTheOldIsTakenBack(t *testing.T) {
	change := map[string]func(*masking.Trunk){
		"its password": func(tr *masking.Trunk) { tr.Auth.Sealed = []byte("y") },
		"its name":     func(tr *masking.Trunk) { tr.Name = "other" },
	}
	for name, edit := range change {
		t.Run(name, func(t *testing.T) {
			r, p := member(t, registers)
			r.ua.Keep()
			registered(t, r, p, "3600")
			tr := r.ua.trunks.all()[0].Trunk
			edit(&tr)
			r.ua.SetTrunks([]masking.Trunk{tr})
			tr.Auth.Realm = "" // and once more before the end
			r.ua.SetTrunks([]masking.Trunk{tr})
			last := p.expect("REGISTER ")
			if last.field("Expires") != "0" {
				t.Fatalf("%s", last)
			}
			p.sync()
			if got := p.got(); len(got) != 0 {
				t.Fatalf("before the end of the old: %v", got)
			}
			p.send(last.reply(200, "reg", ""))
			first := p.expect("REGISTER ")
			if first.field("Expires") != "3600" || first.field("Call-ID") == last.field("Call-ID") {
				t.Errorf("%s", first)
			}
			p.send(first.reply(200, "reg", ""))
			r.until("it is registered", func() bool { return r.ua.TrunkHealth(tr.Name).Registration.State == "registered" })
			p.takenBack(r)
		})
	}
}

func TestARegistrationOfATrunkThatIsRemovedIsTakenBackThoughThatIsChallenged(t *testing.T) {
	r, p := member(t, registers)
	r.ua.Keep()
	registered(t, r, p, "3600")
	r.ua.SetTrunks(nil)
	last := p.expect("REGISTER ")
	p.send(last.reply(401, "reg", "", challenge+`r2", stale=true`))
	again := p.expect("REGISTER ")
	again.proven(t, "Authorization", "r2")
	if last.field("Expires") != "0" || again.field("Expires") != "0" {
		t.Errorf("%s\n%s", last, again)
	}
	p.send(again.reply(200, "reg", ""))
	r.until("its address is a stranger's", func() bool { return !r.ua.admits(p.addr.Addr()) })
}

func TestARegistrationStandsWhenWhatItDoesNotGoByChanges(t *testing.T) {
	r, p := member(t, registers)
	r.ua.Keep()
	registered(t, r, p, "3600")
	tr := r.ua.trunks.all()[0].Trunk
	tr.Weight, tr.CallerIDs, tr.MaxCalls, tr.UpdatedAt = 7, []string{"+9140*"}, 3, time.Now()
	r.ua.SetTrunks([]masking.Trunk{tr})
	p.sync()
	if got := p.got(); len(got) != 0 || r.ua.TrunkHealth("one").Registration.State != "registered" {
		t.Errorf("%v, %+v", got, r.ua.TrunkHealth("one").Registration)
	}
	p.takenBack(r)
}

func TestARegistrationOfATrunkThatChangesIsTakenBackAndMadeAnew(t *testing.T) {
	t.Parallel()
	r, p := member(t, registers)
	r.ua.Keep()
	registered(t, r, p, "3600")
	tr := r.ua.trunks.all()[0].Trunk
	tr.Register.ContactUser = "acme-2"
	r.ua.SetTrunks([]masking.Trunk{tr})
	p.await("the end of the old", func(m msg) bool {
		return strings.HasPrefix(m.start(), "REGISTER ") && m.field("Expires") == "0" && strings.Contains(m.field("Contact"), "acme-1@")
	})
	p.await("the new", func(m msg) bool {
		return strings.HasPrefix(m.start(), "REGISTER ") && m.field("Expires") == "3600" && strings.Contains(m.field("Contact"), "acme-2@")
	})
}

// A registrar puts our Contact into the Request-URI; the number is in To. It calls
// from where we registered, though no source is set.
func TestACallToOurContactIsOneToTheNumberInTo(t *testing.T) {
	r, p := member(t, registers)
	s := &script{p: p, callID: newTag(), local: "<sip:" + alice + "@peer>;tag=x", remote: "<sip:" + virtual + "@carrier.example>",
		target: "sip:acme-1@" + r.udp.String()}
	p.send(s.request("INVITE", &with{body: sdpBody}))
	if c := r.call(); c.Called.E164() != virtual || c.Trunk != "one" {
		t.Errorf("called %v over %q", c.Called.E164() == virtual, c.Trunk)
	}
	other := &script{p: p, callID: newTag(), local: s.local, remote: "<sip:" + bob + "@carrier.example>"}
	p.send(other.request("INVITE", &with{body: sdpBody}))
	if c := r.call(); c.Called.E164() != virtual {
		t.Error("a call to a number is not one to it")
	}
}

func TestPrefixesAreTakenOffAndPutBefore(t *testing.T) {
	tr := masking.Trunk{Country: "IN", NumberFormat: masking.FormatPlain, StripPrefixes: []string{"99", "9901#"}, AddPrefix: "77#"}
	for user, want := range map[string]string{"9901#" + bob[1:]: bob, "9901%23" + bob[1:]: bob, bob: bob, "99" + bob[1:]: bob} {
		if got := parseUser(user, tr); got.E164() != want {
			t.Errorf("%s is read otherwise", user)
		}
	}
	r, p := member(t, func(m *masking.Trunk) { m.NumberFormat, m.AddPrefix = tr.NumberFormat, tr.AddPrefix })
	r.dial()
	if in := p.expect("INVITE "); !strings.HasPrefix(in.requestURI(), "sip:77%23"+bob[1:]+"@") || !strings.Contains(in.field("From"), "sip:"+virtual[1:]+"@") {
		t.Errorf("%s", in.start())
	}
}

func TestATargetIsFoundDownAndUpAgainByOptions(t *testing.T) {
	s := &spot{}
	now := time.Now()
	for i, step := range []struct {
		worked bool
		want   openness
	}{{false, open}, {false, open}, {false, last}, {true, last}, {false, last}, {true, last}, {true, open}, {false, open}} {
		s.note(step.worked, toOptions, 0, now)
		if got := s.opens(true, now); got != step.want {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
	r, p := member(t, func(tr *masking.Trunk) { tr.OptionsEvery = 5 * time.Second })
	r.ua.Keep()
	q := p.expect("OPTIONS ")
	if q.requestURI() != "sip:"+p.addr.String() || q.field("Max-Forwards") != "70" || strings.Contains(string(q), virtual) {
		t.Errorf("%s", q)
	}
	p.send(q.reply(405, "x", ""))
	r.until("the target is up", func() bool { return r.ua.TrunkHealth("one").State == "up" })
}

// One of the twenty defects: failover storms. A target that asks to be left alone
// is, one that fails is not knocked at by every call, and no call knocks everywhere.
func TestCarriersThatAreDownAreNotStormed(t *testing.T) {
	r := newRig(t, quick)
	p := r.peer("127.0.0.2")
	tr := trunk("one", p)
	r.ua.SetTrunks([]masking.Trunk{tr})
	_, ev := r.dial()
	p.send(p.expect("INVITE ").reply(503, "x", "", "Retry-After: 60 (soon)"))
	if e := ev.next(t, b2bua.EvFailed); !e.Retry {
		t.Errorf("%+v", e)
	}
	if got := names(r.ua); len(got) != 0 {
		t.Errorf("after a 503 with Retry-After: %v", got)
	}
	var many []masking.Trunk
	for i := range 10 {
		one := trunk("t" + itoa(i))
		one.Targets = []masking.Target{{Host: "127.0.0.5", Port: uint16(1 + i)}, {Host: "127.0.0.6", Port: uint16(1 + i)}}
		many = append(many, one)
	}
	r.ua.SetTrunks(many)
	if got := names(r.ua); len(got) != mostWays {
		t.Errorf("%d ways", len(got))
	}
	for _, l := range r.ua.trunks.all() {
		for _, place := range l.places {
			for range downAfter {
				r.ua.trunks.state(l.Name).at(place).note(false, toCall, 0, time.Now())
			}
		}
	}
	if got := names(r.ua); len(got) != mostLasts {
		t.Errorf("with all down %d ways", len(got))
	}
}
