// Package locate finds the servers of a SIP domain by DNS, as RFC 3263 says, and
// keeps what it found up to date. It is for package sipua, which asks nobody on a
// call's way: a call takes what was found last, in an order drawn for it.
//
// The resolver is one of our own because that of the system tells no TTL and knows
// no NAPTR. It asks recursive servers; what an answer may make it do is bounded.
package locate

import (
	"net/netip"
	"slices"
	"time"
)

// Query is what servers are looked for: those of a name that somebody wrote.
type Query struct {
	Host    string // a name, never an address
	Port    uint16 // 0 = as DNS says, else the default of the transport
	Network string // "udp", "tcp" or "tls"; "" = as DNS says
	Reach   Reach  // what else DNS says is of no use
}

// Reach is what we can send over.
type Reach []Way

// Way is one transport over one family of addresses.
type Way struct {
	Network string
	IPv6    bool
}

// speaks reports whether a transport can be used at all.
func (r Reach) speaks(network string) bool {
	return slices.ContainsFunc(r, func(w Way) bool { return w.Network == network })
}

// Found are the servers of a name.
type Found struct {
	Records []Record      // by priority
	TTL     time.Duration // the shortest of all records that led there
}

// By says which records led to a server, the strongest first.
type By string

// The records that lead to servers (RFC 3263 §4.1, §4.2).
const (
	ByNAPTR   By = "naptr"
	BySRV     By = "srv"
	ByAddress By = "address" // A or AAAA of the name itself
)

// Record is a server: what an SRV record says (RFC 2782), and the addresses of its
// target. Without SRV records it is the name itself.
type Record struct {
	By       By
	Host     string
	Port     uint16
	Network  string
	Priority uint16
	Weight   uint16
	Addrs    []netip.Addr // IPv6 first (RFC 7984 §4, by the default order of RFC 6724)
}

// Server is an address to send to.
type Server struct {
	Network string
	Addr    netip.AddrPort
}

// Order gives the servers in the order in which one call tries them: by priority,
// among equals by weight as RFC 2782 draws it, and of one record's addresses those
// of a family in any order. draw gives a number in [0, n).
func (f Found) Order(draw func(n int) int) []Server {
	list := slices.Clone(f.Records)
	for from := 0; from < len(list); {
		to := from + 1
		for to < len(list) && list[to].Priority == list[from].Priority {
			to++
		}
		byWeight(list[from:to], draw)
		from = to
	}
	var servers []Server
	for _, r := range list {
		for _, a := range shuffled(r.Addrs, draw) {
			servers = append(servers, Server{r.Network, netip.AddrPortFrom(a, r.Port)})
		}
	}
	return servers
}

// byWeight orders records of one priority: those of weight 0 first in the list that
// is drawn from, and of all the first whose running sum reaches the number drawn
// between 0 and the sum inclusive (RFC 2782, "Weight").
func byWeight(equals []Record, draw func(n int) int) {
	slices.SortStableFunc(equals, func(a, b Record) int { return min(int(a.Weight), 1) - min(int(b.Weight), 1) })
	for rest := equals; len(rest) > 1; rest = rest[1:] {
		sum := 0
		for _, r := range rest {
			sum += int(r.Weight)
		}
		at, i := draw(sum+1), 0
		for sum = int(rest[0].Weight); sum < at; sum += int(rest[i].Weight) {
			i++
		}
		chosen := rest[i]
		copy(rest[1:i+1], rest[:i])
		rest[0] = chosen
	}
}

// shuffled orders a record's addresses: the families stay as they are.
func shuffled(addrs []netip.Addr, draw func(n int) int) []netip.Addr {
	list := slices.Clone(addrs)
	for i := range list {
		same := 1
		for i+same < len(list) && list[i+same].Is4() == list[i].Is4() {
			same++
		}
		if same > 1 {
			j := i + draw(same)
			list[i], list[j] = list[j], list[i]
		}
	}
	return list
}
