package locate

import (
	"cmp"
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// What a name may lead to, and how far we follow it. A zone of a real carrier stays
// far below; one that was made to keep us busy ends here.
const (
	maxRecords   = 16 // SRV records that are used, the most preferred
	maxAddrs     = 8  // addresses of one of them
	maxAliases   = 8  // CNAMEs in a row
	maxQuestions = 64 // for one name in all
)

// The default ports (RFC 3261 §19.1.2).
const (
	port    = 5060
	portTLS = 5061
)

// errTooFar says that a name leads further than we follow.
var errTooFar = errors.New("its records lead on for ever")

// Find looks for the servers of a name (RFC 3263 §4). Nothing found and no error
// means that DNS says so: there is no such name, it has no server that we could
// reach, or it says itself that it has none (RFC 2782, target "."). With an error
// what was found is incomplete.
//
// The RFC's words on sip URIs hold for names without a transport, those on sips
// URIs for names over TLS.
func (r *Resolver) Find(ctx context.Context, q Query) (Found, error) {
	s := &search{reach: q.Reach, host: dns.Fqdn(strings.ToLower(q.Host)),
		answer: func(q dns.Question) ([]dns.RR, error) { return r.ask(ctx, q) }}
	var list []Record
	switch {
	case q.Port != 0: // §4.2: no SRV where the port is given
		list = s.itself(cmp.Or(q.Network, "udp"), q.Port)
	case q.Network != "":
		list = s.transport(q.Network)
	default:
		list = s.preferred()
	}
	return Found{Records: list, TTL: s.ttl}, s.err
}

// search is one walk through DNS.
type search struct {
	answer func(dns.Question) ([]dns.RR, error)
	reach  Reach
	host   string
	asked  int
	timed  bool // ttl is that of a record
	ttl    time.Duration
	err    error // the first
}

// preferred finds servers where nobody says over what (RFC 3263 §4.1): by the most
// preferred NAPTR record of a transport that we have; without one, by the SRV
// records of ours in their order; without those, the name itself over UDP.
func (s *search) preferred() []Record {
	for _, n := range s.naptr() {
		network := transportOf(n)
		if !s.reach.speaks(network) {
			continue
		}
		list, there := s.srv(n.Replacement, network, ByNAPTR)
		if there || s.err != nil {
			return list
		}
		return s.itself(network, defaultPort(network))
	}
	for _, network := range []string{"udp", "tcp"} {
		if s.err != nil {
			return nil // what cannot be asked may well be there
		}
		if !s.reach.speaks(network) {
			continue
		}
		if list, there := s.srv(service(network)+s.host, network, BySRV); there {
			return list
		}
	}
	if s.err != nil {
		return nil
	}
	return s.itself("udp", port)
}

// transport finds servers over one transport: by SRV, else the name itself with the
// default port (RFC 3263 §4.2).
func (s *search) transport(network string) []Record {
	list, there := s.srv(service(network)+s.host, network, BySRV)
	if there || s.err != nil {
		return list
	}
	return s.itself(network, defaultPort(network))
}

func service(network string) string {
	switch network {
	case "tls":
		return "_sips._tcp."
	case "tcp":
		return "_sip._tcp."
	}
	return "_sip._udp."
}

func defaultPort(network string) uint16 {
	if network == "tls" {
		return portTLS
	}
	return port
}

// naptr gives the NAPTR records that lead to SRV records of SIP, the most preferred first.
func (s *search) naptr() []*dns.NAPTR {
	var list []*dns.NAPTR
	for _, rr := range s.ask(s.host, dns.TypeNAPTR) {
		if n, ok := rr.(*dns.NAPTR); ok && transportOf(n) != "" && strings.EqualFold(n.Flags, "s") && n.Regexp == "" && n.Replacement != "." {
			list = append(list, n)
		}
	}
	slices.SortStableFunc(list, func(a, b *dns.NAPTR) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Preference, b.Preference))
	})
	return list
}

// transportOf is that of a NAPTR record's service, "" if it is none of ours.
func transportOf(n *dns.NAPTR) string {
	switch strings.ToUpper(n.Service) {
	case "SIP+D2U":
		return "udp"
	case "SIP+D2T":
		return "tcp"
	case "SIPS+D2T":
		return "tls"
	}
	return ""
}

// srv gives the servers that the SRV records of a name lead to. there says that there
// are such records, be it that they lead nowhere.
func (s *search) srv(name, network string, by By) (list []Record, there bool) {
	for _, rr := range s.ask(name, dns.TypeSRV) {
		v, ok := rr.(*dns.SRV)
		if !ok {
			continue
		}
		there = true
		if v.Target != "." && v.Port != 0 {
			list = append(list, Record{By: by, Host: strings.ToLower(strings.TrimSuffix(v.Target, ".")), Port: v.Port, Network: network,
				Priority: v.Priority, Weight: v.Weight})
		}
	}
	slices.SortStableFunc(list, func(a, b Record) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Host, b.Host), cmp.Compare(a.Port, b.Port))
	})
	list = list[:min(len(list), maxRecords)]
	for i := range list {
		list[i].Addrs = s.addresses(dns.Fqdn(list[i].Host), network)
	}
	return slices.DeleteFunc(list, func(r Record) bool { return len(r.Addrs) == 0 }), there
}

// itself is the name as its own only server.
func (s *search) itself(network string, port uint16) []Record {
	addrs := s.addresses(s.host, network)
	if len(addrs) == 0 {
		return nil
	}
	return []Record{{By: ByAddress, Host: strings.TrimSuffix(s.host, "."), Port: port, Network: network, Addrs: addrs}}
}

// addresses are those of a host, of the families that a transport can reach. What
// no host can have is left out.
func (s *search) addresses(host, network string) []netip.Addr {
	var list []netip.Addr
	for _, kind := range []uint16{dns.TypeAAAA, dns.TypeA} {
		if !slices.Contains(s.reach, Way{network, kind == dns.TypeAAAA}) {
			continue
		}
		var family []netip.Addr
		for _, rr := range s.ask(host, kind) {
			a := addressOf(rr)
			if a.IsValid() && a.Is6() == (kind == dns.TypeAAAA) && !a.IsUnspecified() && !a.IsMulticast() && a != broadcast() {
				family = append(family, a)
			}
		}
		slices.SortFunc(family, netip.Addr.Compare)
		list = append(list, slices.Compact(family)...)
	}
	return list[:min(len(list), maxAddrs)]
}

func broadcast() netip.Addr { return netip.AddrFrom4([4]byte{255, 255, 255, 255}) }

func addressOf(rr dns.RR) netip.Addr {
	var a netip.Addr
	switch v := rr.(type) {
	case *dns.A:
		a, _ = netip.AddrFromSlice(v.A)
	case *dns.AAAA:
		a, _ = netip.AddrFromSlice(v.AAAA)
	}
	return a.Unmap()
}

// ask gives the records of a kind that a name has, by whatever aliases it has them.
func (s *search) ask(name string, kind uint16) []dns.RR {
	for range maxAliases {
		if s.asked++; s.asked > maxQuestions {
			break
		}
		answer, err := s.answer(dns.Question{Name: name, Qtype: kind, Qclass: dns.ClassINET})
		if err != nil {
			s.err = cmp.Or(s.err, err)
			return nil
		}
		list, end := s.walk(answer, name, kind)
		if len(list) > 0 || strings.EqualFold(end, name) {
			return list
		}
		name = end // a server that did not follow the alias itself
	}
	s.err = cmp.Or(s.err, errTooFar)
	return nil
}

// walk follows the aliases within an answer from a name on. It gives the records of
// a kind at their end, and where that is.
func (s *search) walk(answer []dns.RR, name string, kind uint16) (list []dns.RR, end string) {
	for range maxAliases {
		var alias string
		for _, rr := range answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || !strings.EqualFold(h.Name, name) {
				continue
			}
			switch c, ok := rr.(*dns.CNAME); {
			case h.Rrtype == kind:
				list = append(list, rr)
			case ok:
				alias = c.Target
			default:
				continue
			}
			s.lasts(time.Duration(h.Ttl) * time.Second)
		}
		if len(list) > 0 || alias == "" {
			return list, name
		}
		name = alias
	}
	return nil, name
}

// lasts notes the time that a record may be used.
func (s *search) lasts(ttl time.Duration) {
	if !s.timed || ttl < s.ttl {
		s.timed, s.ttl = true, ttl
	}
}
