package locate

import (
	"context"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"tandem/internal/testkit/names"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// everything is the reach of a server that listens on all there is.
var everything = Reach{{"udp", false}, {"udp", true}, {"tcp", false}, {"tcp", true}, {"tls", false}, {"tls", true}}

func newResolver(servers ...*names.Server) *Resolver {
	var at []netip.AddrPort
	for _, s := range servers {
		at = append(at, s.Addr())
	}
	return NewResolver(at)
}

// list writes servers down, in the order in which they are found.
func list(f Found) (lines []string) {
	for _, r := range f.Records {
		for _, a := range r.Addrs {
			lines = append(lines, fmt.Sprintf("%s %s %s", r.By, r.Network, netip.AddrPortFrom(a, r.Port)))
		}
	}
	return lines
}

// full is a zone with everything.
var full = []string{
	`sip.example. 300 IN NAPTR 20 10 "s" "SIP+D2U" "" _sip._udp.sip.example.`,
	`sip.example. 300 IN NAPTR 10 20 "s" "SIP+D2T" "" _sip._tcp.sip.example.`,
	`sip.example. 300 IN NAPTR 10 10 "s" "SIPS+D2T" "" _sips._tcp.sip.example.`,
	`sip.example. 300 IN NAPTR 5 10 "s" "SIP+D2S" "" _sip._sctp.sip.example.`,
	`sip.example. 300 IN NAPTR 1 10 "u" "E2U+sip" "!^.*$!sip:x@evil.example!" .`,
	`_sip._udp.sip.example. 60 IN SRV 2 0 5070 b.example.`,
	`_sip._udp.sip.example. 60 IN SRV 1 0 5080 a.example.`,
	`_sip._tcp.sip.example. 60 IN SRV 1 0 5062 a.example.`,
	`_sips._tcp.sip.example. 60 IN SRV 1 0 5063 b.example.`,
	`a.example. 30 IN A 192.0.2.1`, `a.example. 20 IN AAAA 2001:db8::1`, `b.example. 40 IN A 192.0.2.2`, `b.example. 40 IN A 192.0.2.3`,
	`sip.example. 90 IN A 192.0.2.9`,
}

func TestServersAreFoundByNAPTRThenSRVThenAddresses(t *testing.T) {
	four := Reach{{"udp", false}, {"tcp", false}}
	without := func(what ...string) (zone []string) {
		for _, line := range full {
			keep := true
			for _, w := range what {
				keep = keep && !strings.Contains(line, w)
			}
			if keep {
				zone = append(zone, line)
			}
		}
		return zone
	}
	s := names.New(t)
	for name, c := range map[string]struct {
		zone []string
		q    Query
		want []string
	}{
		"the most preferred NAPTR":                    {full, Query{Reach: everything}, []string{"naptr tls 192.0.2.2:5063", "naptr tls 192.0.2.3:5063"}},
		"the most preferred NAPTR that we can do":     {full, Query{Reach: four}, []string{"naptr tcp 192.0.2.1:5062"}},
		"a transport that is given needs no NAPTR":    {full, Query{Network: "udp", Reach: four}, []string{"srv udp 192.0.2.1:5080", "srv udp 192.0.2.2:5070", "srv udp 192.0.2.3:5070"}},
		"TLS asks for _sips":                          {full, Query{Network: "tls", Reach: everything}, []string{"srv tls 192.0.2.2:5063", "srv tls 192.0.2.3:5063"}},
		"IPv6 before IPv4":                            {full, Query{Network: "tcp", Reach: everything}, []string{"srv tcp [2001:db8::1]:5062", "srv tcp 192.0.2.1:5062"}},
		"no NAPTR: SRV of UDP first":                  {without("NAPTR"), Query{Reach: four}, []string{"srv udp 192.0.2.1:5080", "srv udp 192.0.2.2:5070", "srv udp 192.0.2.3:5070"}},
		"no NAPTR, no SRV of UDP: TCP":                {without("NAPTR", "_udp"), Query{Reach: four}, []string{"srv tcp 192.0.2.1:5062"}},
		"neither: the name over UDP":                  {without("NAPTR", "SRV"), Query{Reach: everything}, []string{"address udp 192.0.2.9:5060"}},
		"neither, over TCP":                           {without("NAPTR", "SRV"), Query{Network: "tcp", Reach: everything}, []string{"address tcp 192.0.2.9:5060"}},
		"neither, over TLS: its own port":             {without("NAPTR", "SRV"), Query{Network: "tls", Reach: everything}, []string{"address tls 192.0.2.9:5061"}},
		"a NAPTR without its SRV: the name":           {without("SRV"), Query{Reach: everything}, []string{"address tls 192.0.2.9:5061"}},
		"a port that is given needs no SRV":           {full, Query{Port: 5099, Reach: everything}, []string{"address udp 192.0.2.9:5099"}},
		"a port and a transport that are given":       {full, Query{Port: 5099, Network: "tls", Reach: everything}, []string{"address tls 192.0.2.9:5099"}},
		"the name says that it has none (RFC 2782)":   {append(without("_udp"), `_sip._udp.sip.example. 60 IN SRV 0 0 0 .`), Query{Network: "udp", Reach: everything}, nil},
		"no such name":                                {nil, Query{Reach: everything}, nil},
		"only addresses of a family that we have not": {[]string{`sip.example. 60 IN AAAA 2001:db8::9`}, Query{Reach: four}, nil},
		"addresses that nobody can have are left out": {[]string{`sip.example. 60 IN A 0.0.0.0`, `sip.example. 60 IN A 224.0.0.1`, `sip.example. 60 IN A 255.255.255.255`, `sip.example. 60 IN A 192.0.2.5`}, Query{Reach: four}, []string{"address udp 192.0.2.5:5060"}},
		"an alias":                                     {[]string{`sip.example. 60 IN CNAME edge.example.`, `edge.example. 5 IN CNAME far.example.`, `far.example. 60 IN A 192.0.2.6`}, Query{Port: 5060, Reach: four}, []string{"address udp 192.0.2.6:5060"}},
		"an alias that leads to nothing":               {[]string{`sip.example. 60 IN CNAME edge.example.`}, Query{Port: 5060, Reach: four}, nil},
		"a target without an address beside one":       {[]string{`_sip._udp.sip.example. 60 IN SRV 1 0 5060 no.example.`, `_sip._udp.sip.example. 60 IN SRV 2 0 5060 a.example.`, `a.example. 60 IN A 192.0.2.1`}, Query{Network: "udp", Reach: four}, []string{"srv udp 192.0.2.1:5060"}},
		"names are written in any case, as are theirs": {[]string{`SIP.Example. 60 IN A 192.0.2.7`}, Query{Port: 5060, Reach: four}, []string{"address udp 192.0.2.7:5060"}},
	} {
		t.Run(name, func(t *testing.T) {
			s.Set(c.zone...)
			c.q.Host = "sip.example"
			found, err := newResolver(s).Find(t.Context(), c.q)
			if err != nil || !reflect.DeepEqual(list(found), c.want) {
				t.Errorf("found %q (%v), want %q", list(found), err, c.want)
			}
		})
	}
}

func TestWhatIsFoundLastsAsLongAsTheShortestRecordOnTheWay(t *testing.T) {
	s := names.New(t)
	for ttl, zone := range map[time.Duration][]string{
		30 * time.Second: full[:9:9],
		7 * time.Second: {`sip.example. 7 IN NAPTR 1 1 "s" "SIP+D2T" "" _sip._tcp.sip.example.`,
			`_sip._tcp.sip.example. 60 IN SRV 1 0 5062 a.example.`},
		5 * time.Second: {`_sip._tcp.sip.example. 5 IN SRV 1 0 5062 a.example.`},
		3 * time.Second: {`_sip._tcp.sip.example. 60 IN SRV 1 0 5062 c.example.`, `c.example. 3 IN CNAME a.example.`},
		0:               {`_sip._tcp.sip.example. 0 IN SRV 1 0 5062 a.example.`},
	} {
		s.Set(append(zone, `a.example. 30 IN A 192.0.2.1`)...)
		found, err := newResolver(s).Find(t.Context(), Query{Host: "sip.example", Reach: Reach{{"tcp", false}}})
		if err != nil || len(found.Records) != 1 || found.TTL != ttl {
			t.Errorf("TTL %v, want %v (%v, %v)", found.TTL, ttl, list(found), err)
		}
	}
}

func TestWhatANameLeadsToIsBounded(t *testing.T) {
	s := names.New(t)
	var many []string
	for i := range 40 {
		many = append(many, fmt.Sprintf(`_sip._udp.sip.example. 60 IN SRV %d 0 5060 h%d.example.`, 40-i, i))
		for j := range 12 {
			many = append(many, fmt.Sprintf(`h%d.example. 60 IN A 192.0.%d.%d`, i, i, j+1))
		}
	}
	s.Set(many...)
	found, err := newResolver(s).Find(t.Context(), Query{Host: "sip.example", Network: "udp", Reach: everything})
	if err != nil || len(found.Records) != maxRecords || found.Records[0].Host != "h39.example" || len(list(found)) != maxRecords*maxAddrs {
		t.Errorf("%d records, %d addresses (%v)", len(found.Records), len(list(found)), err)
	}
	for name, zone := range map[string][]string{
		"a ring of aliases":   {`sip.example. 60 IN CNAME b.example.`, `b.example. 60 IN CNAME sip.example.`},
		"an alias of itself":  {`sip.example. 60 IN CNAME sip.example.`},
		"a chain without end": {`sip.example. 60 IN CNAME c0.example.`},
	} {
		for i := range 30 {
			zone = append(zone, fmt.Sprintf(`c%d.example. 60 IN CNAME c%d.example.`, i, i+1))
		}
		s.Set(zone...)
		before := s.Asked()
		found, err := newResolver(s).Find(t.Context(), Query{Host: "sip.example", Reach: everything})
		if len(found.Records) != 0 || s.Asked()-before > maxQuestions {
			t.Errorf("%s: found %v (%v) by %d questions", name, list(found), err, s.Asked()-before)
		}
	}
}

// A server that gives each answer one alias, always another, keeps nobody busy.
func TestAServerThatInventsAliasesIsLeft(t *testing.T) {
	s := names.New(t)
	s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
		m := new(dns.Msg).SetReply(ask)
		m.RecursionAvailable = true
		next := dns.CNAME{Hdr: dns.RR_Header{Name: ask.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 1},
			Target: fmt.Sprintf("n%d.example.", s.Asked())}
		m.Answer = []dns.RR{&next}
		return w.WriteMsg(m) == nil
	})
	found, err := newResolver(s).Find(t.Context(), Query{Host: "sip.example", Port: 5060, Reach: everything})
	if err == nil || len(found.Records) != 0 || s.Asked() > 2*maxAliases {
		t.Errorf("found %v (%v) by %d questions", list(found), err, s.Asked())
	}
}

func TestTheQuestionsOfOneLookupAreBounded(t *testing.T) {
	s := names.New(t)
	s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
		m := new(dns.Msg).SetReply(ask)
		m.RecursionAvailable, m.Compress = true, true
		h := dns.RR_Header{Name: ask.Question[0].Name, Rrtype: dns.TypeCNAME, Class: dns.ClassINET, Ttl: 1}
		if ask.Question[0].Qtype != dns.TypeSRV {
			m.Answer = []dns.RR{&dns.CNAME{Hdr: h, Target: fmt.Sprintf("n%d.example.", s.Asked())}}
			return w.WriteMsg(m) == nil
		}
		h.Rrtype = dns.TypeSRV
		for i := range 10 {
			m.Answer = append(m.Answer, &dns.SRV{Hdr: h, Port: 5060, Target: fmt.Sprintf("s%d.", i)})
		}
		return w.WriteMsg(m) == nil
	})
	found, err := newResolver(s).Find(t.Context(), Query{Host: "sip.example", Network: "udp", Reach: everything})
	if err == nil || len(found.Records) != 0 || s.Asked() > maxQuestions {
		t.Errorf("found %v (%v) by %d questions", list(found), err, s.Asked())
	}
}

func TestWhatAnAnswerHasNoRightToSayIsNotHeard(t *testing.T) {
	s := names.New(t)
	for name, edit := range map[string]func(m *dns.Msg){
		"of another name":          func(m *dns.Msg) { m.Answer[0].Header().Name = "other.example." },
		"of another class":         func(m *dns.Msg) { m.Answer[0].Header().Class = dns.ClassCHAOS },
		"of a name that is not":    func(m *dns.Msg) { m.Rcode = dns.RcodeNameError },
		"in the authority section": func(m *dns.Msg) { m.Ns, m.Answer = m.Answer, nil },
		"in the additional one":    func(m *dns.Msg) { m.Extra, m.Answer = m.Answer, nil },
	} {
		s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
			m := new(dns.Msg).SetReply(ask)
			m.RecursionAvailable = true
			m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: ask.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1}, A: []byte{192, 0, 2, 66}}}
			edit(m)
			return w.WriteMsg(m) == nil
		})
		if found, err := newResolver(s).Find(t.Context(), Query{Host: "sip.example", Port: 5060, Reach: Reach{{"udp", false}}}); err != nil || len(found.Records) != 0 {
			t.Errorf("an address %s: %v (%v)", name, list(found), err)
		}
	}
}

func TestAServerThatRefersToOthersIsNotBelieved(t *testing.T) {
	lame, good := names.New(t), names.New(t)
	lame.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool { return w.WriteMsg(new(dns.Msg).SetReply(ask)) == nil })
	good.Set(full...)
	q := Query{Host: "sip.example", Network: "tcp", Reach: Reach{{"tcp", false}}}
	if found, err := newResolver(lame, good).Find(t.Context(), q); err != nil || len(found.Records) != 1 {
		t.Errorf("found %v (%v)", list(found), err)
	}
	if found, err := newResolver(lame).Find(t.Context(), q); err == nil {
		t.Errorf("found %v", list(found))
	}
}

func TestWhatCannotBeAskedIsNotTakenForNothing(t *testing.T) {
	s := names.New(t)
	s.Set(full...)
	for what, c := range map[string]struct {
		q    Query
		want []string // found all the same
	}{
		"NAPTR sip.example.":          {Query{Reach: everything}, nil},
		"SRV _sips._tcp.sip.example.": {Query{Reach: everything}, nil},
		"SRV _sip._udp.sip.example.":  {Query{Network: "udp", Reach: everything}, nil},
		"A b.example.":                {Query{Network: "udp", Reach: Reach{{"udp", false}}}, []string{"srv udp 192.0.2.1:5080"}},
	} {
		s.Odd(func(w dns.ResponseWriter, ask *dns.Msg) bool {
			q := ask.Question[0]
			return dns.TypeToString[q.Qtype]+" "+q.Name == what && w.WriteMsg(new(dns.Msg).SetRcode(ask, dns.RcodeServerFailure)) == nil
		})
		c.q.Host = "sip.example"
		found, err := newResolver(s).Find(context.Background(), c.q)
		if err == nil || !strings.Contains(err.Error(), "SERVFAIL") || !reflect.DeepEqual(list(found), c.want) {
			t.Errorf("without %s: %v (%v)", what, list(found), err)
		}
	}
}
