package sipua

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/locate"
)

// directory is a DNS of which the test says what it knows.
type directory struct {
	mu    sync.Mutex
	knows map[string]locate.Found
	err   error
	asked map[string]int
	last  locate.Query
}

func (d *directory) find(_ context.Context, q locate.Query) (locate.Found, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked[q.Host]++
	d.last = q
	return d.knows[q.Host], d.err
}

// set has names lead to servers, the first preferred, or DNS fail.
func (d *directory) set(name string, err error, servers ...netip.AddrPort) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var f locate.Found
	for i, s := range servers {
		f.Records = append(f.Records, locate.Record{By: locate.BySRV, Host: "srv.example", Port: s.Port(), Network: "udp",
			Priority: uint16(i), Addrs: []netip.Addr{s.Addr()}})
	}
	d.knows[name], d.err = f, err
}

func (d *directory) question() locate.Query {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.last
}

// withDNS is a rig whose agent finds names in a directory, and asks it all the time.
func withDNS(t *testing.T) (*rig, *directory) {
	d := &directory{knows: map[string]locate.Found{}, asked: map[string]int{}}
	r := newRig(t, account, func(o *Options) {
		o.Find = d.find
		o.Lookups = locate.Timing{Least: time.Millisecond, Again: time.Millisecond, Keep: time.Minute}
	})
	r.ua.Keep()
	return r, d
}

// leads waits until a trunk has so many addresses.
func (r *rig) leads(trunk string, n int) {
	r.t.Helper()
	r.until("the trunk's servers are found", func() bool { return len(r.ua.TrunkHealth(trunk).Targets) == n })
}

func named(name string, hosts ...string) masking.Trunk {
	t := trunk(name)
	for _, h := range hosts {
		target, ok := masking.ParseTarget(h)
		if !ok {
			panic(h)
		}
		t.Targets = append(t.Targets, target)
	}
	return t
}

func TestACallGoesToTheServersOfANameAndNamesIt(t *testing.T) {
	r, d := withDNS(t)
	first, second := r.peer("127.0.0.2"), r.peer("127.0.0.3")
	d.set("sip.carrier.example", nil, first.addr, second.addr)
	r.ua.SetTrunks([]masking.Trunk{named("one", "sip.carrier.example")})
	r.leads("one", 2)
	ways := names(r.ua)
	if len(ways) != 2 {
		t.Fatalf("ways %v", ways)
	}
	leg, ev := r.dial()
	invite := first.expect("INVITE ")
	if invite.requestURI() != "sip:"+bob+"@sip.carrier.example" || invite.field("To") != "<sip:"+bob+"@sip.carrier.example>" {
		t.Errorf("%s", invite)
	}
	first.send(invite.reply(503, "x", ""))
	if e := ev.next(t, b2bua.EvFailed); !e.Retry {
		t.Errorf("%+v", e)
	}
	ev.next(t, b2bua.EvGone)
	leg.End(b2bua.Reason{})
	q := d.question()
	if q.Network != "udp" || q.Port != 0 || !slices.Contains(q.Reach, locate.Way{Network: "udp"}) || slices.Contains(q.Reach, locate.Way{Network: "udp", IPv6: true}) {
		t.Errorf("DNS was asked for %+v", q)
	}
}

func TestNewCallsGoWhereDNSLeadsNowWhileTheOthersStay(t *testing.T) {
	r, d := withDNS(t)
	old, fresh := r.peer("127.0.0.2"), r.peer("127.0.0.3")
	d.set("sip.carrier.example", nil, old.addr)
	r.ua.SetTrunks([]masking.Trunk{named("one", "sip.carrier.example:5060")})
	r.leads("one", 1)
	s, leg, ev := r.reached(old)
	if got := s.invite.requestURI(); got != "sip:"+bob+"@sip.carrier.example:5060" {
		t.Errorf("Request-URI %s", got)
	}
	d.set("sip.carrier.example", nil, fresh.addr)
	r.until("the trunk has moved", func() bool { return r.ua.TrunkHealth("one").Targets[0].Address == fresh.addr.String() })
	r.dial()
	invite := fresh.expect("INVITE ")
	fresh.send(invite.reply(486, "x", ""))
	leg.End(b2bua.Reason{})
	bye := old.expect("BYE ")
	old.send(bye.reply(200, "x", ""))
	ev.next(t, b2bua.EvGone)
	r.gone()
}

func TestTheAddressesOfANameMayCallOnlyOfATrunkThatRegisters(t *testing.T) {
	r, d := withDNS(t)
	at, other, stranger := netip.MustParseAddrPort("192.0.2.7:5060"), netip.MustParseAddrPort("192.0.2.8:5060"), netip.MustParseAddr("192.0.2.9")
	d.set("sip.carrier.example", nil, at, other)
	plain := named("plain", "sip.carrier.example")
	r.ua.SetTrunks([]masking.Trunk{plain})
	r.leads("plain", 2)
	if l, ok := r.ua.trunks.bySource(at.Addr()); ok || !r.ua.trunks.knows(at.Addr()) || r.ua.trunks.knows(stranger) {
		t.Errorf("calls are taken for %q, or no answers", l.Name)
	}
	account := named("account", "sip.carrier.example")
	registers(&account)
	written := trunk("written")
	written.Sources = []netip.Prefix{netip.MustParsePrefix("192.0.2.8/29")} // has the other, and the stranger
	r.ua.SetTrunks([]masking.Trunk{account, written})
	r.leads("account", 2)
	for addr, want := range map[netip.Addr]string{at.Addr(): "account", other.Addr(): "written", stranger: "written"} {
		if l, _ := r.ua.trunks.bySource(addr); l.Name != want {
			t.Errorf("%s is of %q, want %q: a source that was written goes first", addr, l.Name, want)
		}
	}
}

func TestARegistrationWaitsForDNSAndFollowsIt(t *testing.T) {
	r, d := withDNS(t)
	p, q := r.peer("127.0.0.2"), r.peer("127.0.0.3")
	d.set("", errors.New("SERVFAIL"))
	one := named("one", "sip.carrier.example")
	one.Auth = masking.Credentials{Username: "acme", Realm: "carrier.example", Sealed: []byte("x")}
	registers(&one)
	r.ua.SetTrunks([]masking.Trunk{one})
	r.until("the failure is shown", func() bool { return r.ua.TrunkHealth("one").Names[0].State == "failing" })
	if h := r.ua.TrunkHealth("one"); h.Registration.State != "pending" || h.State != "down" || h.Names[0].Problem != "SERVFAIL" {
		t.Errorf("%+v", h)
	}
	d.set("sip.carrier.example", nil, p.addr)
	registered(t, r, p, "3600")
	d.set("sip.carrier.example", nil, q.addr, p.addr)
	r.leads("one", 2) // it stands where it is
	d.set("sip.carrier.example", nil, q.addr)
	again := q.expect("REGISTER ")
	q.send(again.reply(200, "reg", "", "Contact: "+again.field("Contact")+";expires=3600"))
	if n := p.count("REGISTER "); n != 0 {
		t.Errorf("%d more at the old address", n)
	}
	r.until("the registration has moved", func() bool {
		r.ua.keepers.mu.Lock()
		h := r.ua.keepers.of["one"].registration
		r.ua.keepers.mu.Unlock()
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.at.addr == q.addr
	})
	q.takenBack(r)
}

func TestTheHealthTellsWhatDNSSays(t *testing.T) {
	r, d := withDNS(t)
	a, b := netip.MustParseAddrPort("192.0.2.7:5080"), netip.MustParseAddrPort("192.0.2.8:5060")
	d.set("sip.carrier.example", nil, a, b)
	one := named("one", "sip.carrier.example", "192.0.2.1:5060", "gone.example:5070")
	r.ua.SetTrunks([]masking.Trunk{one})
	r.leads("one", 3)
	r.until("the other name is asked for", func() bool { return r.ua.TrunkHealth("one").Names[1].State == "gone" })
	h := r.ua.TrunkHealth("one")
	if len(h.Names) != 2 || h.Names[0].State != "current" || h.Names[0].FoundAt.IsZero() || len(h.Names[0].Servers) != 2 {
		t.Fatalf("%+v", h.Names)
	}
	s := h.Names[0].Servers[0]
	if s.Host != "srv.example" || s.By != "srv" || s.Transport != "udp" || !slices.Equal(s.Addresses, []string{"192.0.2.7:5080"}) {
		t.Errorf("%+v", s)
	}
	if n := h.Names[1]; n.Target != "gone.example:5070" || n.Problem == "" || n.Until.IsZero() || len(n.Servers) != 0 {
		t.Errorf("%+v", n)
	}
	if h.Targets[0].Target != "sip.carrier.example" || h.Targets[2].Target != "" || h.Targets[2].Address != "192.0.2.1:5060" || h.State != "unknown" {
		t.Errorf("%+v", h)
	}
	d.set("sip.carrier.example", errors.New("no answer"))
	r.until("the failure is shown", func() bool { return r.ua.TrunkHealth("one").Names[0].State == "failing" })
	if h := r.ua.TrunkHealth("one"); len(h.Targets) != 3 {
		t.Errorf("while DNS fails %+v", h.Targets)
	}
	if n := r.ua.Lookups(); n.Found == 0 || n.Gone == 0 || n.Failed == 0 {
		t.Errorf("lookups %+v", n)
	}
}

func TestAnAddressOfANameThatFailsIsTriedLast(t *testing.T) {
	r, d := withDNS(t)
	a, b := netip.MustParseAddrPort("192.0.2.7:5060"), netip.MustParseAddrPort("192.0.2.8:5060")
	d.set("sip.carrier.example", nil, a, b)
	r.ua.SetTrunks([]masking.Trunk{named("one", "sip.carrier.example")})
	r.leads("one", 2)
	first := func() netip.AddrPort {
		return r.ua.trunks.outgoing(r.ua, e164.MustParse(virtual))[0].(*way).place.addr
	}
	if got := first(); got != a {
		t.Errorf("first %s", got)
	}
	l := r.ua.trunks.named("one")
	for range downAfter {
		r.ua.trunks.state("one").at(l.places[0]).note(false, 0, 0, time.Now())
	}
	if got := first(); got != b {
		t.Errorf("after failures %s is first", got)
	}
	// What has been seen of an address outlives a lookup.
	asked := func() int { d.mu.Lock(); defer d.mu.Unlock(); return d.asked["sip.carrier.example"] }
	before := asked()
	r.until("DNS is asked again", func() bool { return asked() > before+1 })
	if got := first(); got != b {
		t.Errorf("after a lookup %s is first", got)
	}
}

func TestEqualsOfANameAreDrawnForEachCall(t *testing.T) {
	r, d := withDNS(t)
	heavy, light := netip.MustParseAddr("192.0.2.7"), netip.MustParseAddr("192.0.2.8")
	d.mu.Lock()
	d.knows["sip.carrier.example"] = locate.Found{Records: []locate.Record{
		{Port: 5060, Network: "tcp", Weight: 9, Addrs: []netip.Addr{heavy}}, {Port: 5060, Network: "tcp", Weight: 1, Addrs: []netip.Addr{light}}}}
	d.mu.Unlock()
	one := named("one", "sip.carrier.example")
	one.Transport = masking.ByDNS
	r.ua.SetTrunks([]masking.Trunk{one})
	r.leads("one", 2)
	if q := d.question(); q.Network != "" {
		t.Errorf("DNS was asked for %+v", q)
	}
	first := map[netip.Addr]int{}
	for range 2000 {
		w := r.ua.trunks.outgoing(r.ua, e164.MustParse(virtual))[0].(*way)
		if w.place.network != "tcp" {
			t.Fatalf("over %s", w.place.network)
		}
		first[w.place.addr.Addr()]++
	}
	if n := first[heavy]; n < 1740 || n > 1900 { // ten of eleven numbers are its, 1818 expected, 13 of deviation
		t.Errorf("the heavy one was first %d times of 2000", n)
	}
}

func TestANameThatATrunkHasNoMoreIsForgotten(t *testing.T) {
	r, d := withDNS(t)
	at := netip.MustParseAddrPort("192.0.2.7:5060")
	d.set("sip.carrier.example", nil, at)
	one := named("one", "sip.carrier.example")
	r.ua.SetTrunks([]masking.Trunk{one})
	r.leads("one", 1)
	heavier := one
	heavier.Weight = 7
	r.ua.SetTrunks([]masking.Trunk{heavier})
	if len(r.ua.trunks.named("one").places) != 1 {
		t.Error("a change of something else makes the trunk forget its servers")
	}
	r.ua.SetTrunks([]masking.Trunk{named("one", "other.example")})
	if r.ua.trunks.knows(at.Addr()) {
		t.Error("the addresses of a name that nobody has any more are let in")
	}
	if k := r.ua.trunks.state("one").known(wanted{one.Targets[0], "udp"}); k.State != locate.Pending {
		t.Errorf("what DNS said of it is kept: %+v", k)
	}
	r.ua.SetTrunks(nil)
	r.ua.trunks.learn("one", wanted{target: one.Targets[0], network: "udp"}, locate.Known{})
	if n := len(r.ua.trunks.all()); n != 0 {
		t.Errorf("%d trunks", n)
	}
}
