package e2e

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"tandem/internal/app"
	"tandem/internal/testkit/names"
	"tandem/internal/voice/locate"
	"tandem/internal/voice/phone"
)

const carrier = "carrier.example"

// byName is a stage whose out carrier is reached by a name that a DNS server knows.
// What DNS says is asked for again after a tenth of a second.
func byName(t *testing.T, s setting, fields map[string]any, zone func(out netip.AddrPort) []string) (*stage, *names.Server) {
	t.Helper()
	server := names.New(t)
	s.environ = append(s.environ, "TANDEM_DNS_SERVERS="+server.Addr().String())
	edit := s.edit
	s.edit = func(o *app.Options) {
		if edit != nil {
			edit(o)
		}
		o.Lookups = locate.Timing{Least: 100 * time.Millisecond, Again: 100 * time.Millisecond}
	}
	st := newStage(t, s)
	server.Set(zone(st.out.Addr())...)
	fields["targets"] = []string{carrier}
	st.must(st.Do("", "PUT", "/v1/admin/trunks/carrier-out", fields, nil))
	st.must(st.App.ReloadTrunks(st.ctx))
	st.ledTo(st.out.Addr().String())
	return st, server
}

// trunkHealth is what the API tells of a trunk's health.
type trunkHealth struct {
	State   string `json:"state"`
	Targets []struct {
		Address string `json:"address"`
		Target  string `json:"target"`
		State   string `json:"state"`
	} `json:"targets"`
	Names []struct {
		Target  string `json:"target"`
		State   string `json:"state"`
		TTLLeft int    `json:"ttl_left"`
		Servers []struct {
			Host string `json:"host"`
			By   string `json:"by"`
		} `json:"servers"`
	} `json:"names"`
}

func (st *stage) carrierOut() trunkHealth {
	st.t.Helper()
	var shown struct {
		Health trunkHealth `json:"health"`
	}
	st.must(st.Do("", "GET", "/v1/admin/trunks/carrier-out", nil, &shown))
	return shown.Health
}

// ledTo waits until the name of the out carrier leads to an address.
func (st *stage) ledTo(addr string) {
	st.t.Helper()
	waitFor(st.t, st.ctx, func() bool {
		for _, target := range st.carrierOut().Targets {
			if target.Address == addr {
				return true
			}
		}
		return false
	}, "the address "+addr+" of "+carrier)
}

// at writes records that need the port of an address.
func at(addr netip.AddrPort, host string, records ...string) (zone []string) {
	port := addr.String()[strings.LastIndex(addr.String(), ":")+1:]
	for _, r := range append(records, host+". 0 IN A "+addr.Addr().String()) {
		zone = append(zone, strings.ReplaceAll(r, "PORT", port))
	}
	return zone
}

func TestACallGoesToTheSecondServerOfANameWhenTheFirstIsDead(t *testing.T) {
	t.Parallel()
	st, _ := byName(t, setting{edit: impatient}, map[string]any{"transport": "dns"}, func(out netip.AddrPort) []string {
		zone := at(out, "two.carrier.example", `carrier.example. 60 IN NAPTR 10 10 "s" "SIP+D2U" "" _sip._udp.carrier.example.`,
			`carrier.example. 60 IN NAPTR 5 10 "s" "SIPS+D2T" "" _sips._tcp.carrier.example.`, // we listen on no TLS
			`_sip._udp.carrier.example. 60 IN SRV 20 0 PORT two.carrier.example.`)
		return append(zone, `_sip._udp.carrier.example. 60 IN SRV 10 0 9 one.carrier.example.`, `one.carrier.example. 60 IN A 127.0.0.4`)
	})
	st.allocate(nil)
	a := st.dial(st.in, alice)
	b := st.called()
	if seen := b.Seen(); seen.RequestUser != bob || seen.From != virtual {
		t.Errorf("called %q by %q", seen.RequestUser, seen.From)
	}
	if invite := string(b.Raw()[0]); !strings.HasPrefix(invite, "INVITE sip:"+bob+"@"+carrier+" SIP/2.0") {
		t.Errorf("the name is not in the Request-URI:\n%s", invite)
	}
	st.must(b.Answer(phone.Reply{}))
	st.must(a.Answered(st.ctx))
	st.must(a.Hangup(st.ctx))
	st.over(a, b)
	if r := st.record(); r.Cause != "caller_hung_up" {
		t.Errorf("record: %+v", r)
	}
	h := st.carrierOut()
	if len(h.Names) != 1 || h.Names[0].State != "current" || len(h.Names[0].Servers) != 2 || h.Names[0].Servers[0].By != "naptr" ||
		h.Names[0].Servers[0].Host != "one.carrier.example" || len(h.Targets) != 2 || h.Targets[0].Target != carrier {
		t.Errorf("health %+v", h)
	}
	metrics, err := st.Metrics()
	st.must(err)
	for _, want := range []string{`tandem_trunk_target_resolved{target="carrier.example",trunk="carrier-out"} 1`,
		`tandem_trunk_target_up{target="carrier.example",trunk="carrier-out"} 1`, `tandem_dns_lookups_total{outcome="failed"} 0`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
}

func TestNewCallsFollowDNSWhileARunningCallStaysWhereItIs(t *testing.T) {
	t.Parallel()
	zone := func(out netip.AddrPort) []string {
		return at(out, "edge.carrier.example", `_sip._udp.carrier.example. 0 IN SRV 1 0 PORT edge.carrier.example.`)
	}
	st, server := byName(t, setting{}, map[string]any{}, zone)
	st.allocate(nil)
	_, err := st.Allocate("acme", second, []string{carol}, []string{dave}, nil)
	st.must(err)
	moved := make(chan *phone.Call, 1)
	fresh := st.newPhone(phone.Options{IP: netip.MustParseAddr("127.0.0.5"), OnCall: func(c *phone.Call) { moved <- c; <-c.Done() }})

	a, b := st.talk(alice, phone.Sine(440, 8000), phone.Sine(880, 8000))
	st.must(b.HearsTone(st.ctx, 440))
	server.Set(zone(fresh.Addr())...)
	st.ledTo(fresh.Addr().String())
	server.Fail(dns.RcodeServerFailure) // what it said last holds
	c := st.dial(st.in, carol, func(in *phone.Invite) { in.To = second })
	select {
	case d := <-moved:
		st.must(d.Answer(phone.Reply{}))
		st.must(c.Answered(st.ctx))
		st.must(b.Hold(st.ctx)) // the first call is where it was
		st.must(b.Resume(st.ctx))
		st.must(a.HearsTone(st.ctx, 880))
		st.must(c.Hangup(st.ctx))
		st.over(c, d)
	case <-st.ctx.Done():
		t.Fatal("the new address was not called")
	}
	st.nobodyCalled()
	waitFor(t, st.ctx, func() bool { return st.carrierOut().Names[0].State == "failing" }, "the failure of DNS in the trunk's health")
	st.must(a.Hangup(st.ctx)) // our BYE finds the old address
	st.over(a, b)
	st.settle()
}

func TestTheCertificateOfAServerMustBearTheNameThatWasWritten(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		issued []string
		taken  bool
	}{"the name": {[]string{carrier}, true}, "the server that DNS named": {[]string{"edge.carrier.example", "127.0.0.3"}, false}} {
		t.Run(name, func(t *testing.T) {
			s := newSecrets(t)
			set := s.over("tls")
			set.out = func(o *phone.Options) {
				o.Credentials = s.shown("127.0.0.3", s.Authority)
				o.Credentials.Certificate = s.Issue(c.issued...)
			}
			st, _ := byName(t, set, map[string]any{}, func(out netip.AddrPort) []string {
				return at(out, "edge.carrier.example", `_sips._tcp.carrier.example. 0 IN SRV 1 0 PORT edge.carrier.example.`)
			})
			st.allocate(nil)
			if !c.taken {
				if status := st.refused(st.dial(st.in, alice)); status/100 != 5 && status/100 != 4 {
					t.Errorf("status %d", status)
				}
				st.nobodyCalled()
				st.settle()
				return
			}
			a, b := st.talk(alice, nil, nil)
			st.must(a.Hangup(st.ctx))
			st.over(a, b)
			st.settle()
		})
	}
}
