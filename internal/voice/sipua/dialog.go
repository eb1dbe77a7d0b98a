package sipua

import (
	"crypto/rand"
	"net/netip"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/siptx"
)

// dialog is the state of RFC 3261 §12.
type dialog struct {
	callID              string
	localTag, remoteTag string
	local, remote       sip.Uri
	seq                 uint32 // of our last request
	remoteSeq           sequence
	routes              []sip.Uri
	target              sip.Uri
	peer                siptx.Target // where its messages go if its target cannot be followed
	updates             bool         // the peer says that it takes UPDATE
}

// sequence is the highest CSeq that the peer has used in a dialog, plus one; zero
// if it has used none yet.
type sequence uint64

// take reports whether a request with this CSeq is in order, and notes it
// (RFC 3261 §12.2.2). The same number again is a second request that claims the
// place of the first: not in order either.
func (s *sequence) take(seq uint32) bool {
	if sequence(seq) < *s {
		return false
	}
	*s = sequence(seq) + 1
	return true
}

func newTag() string { return rand.Text()[:16] }

// tagOf is the tag of a From or To, "" if it has none.
func tagOf(params sip.HeaderParams) string {
	tag, _ := params.Get("tag")
	return tag
}

// confirm completes a dialog from the 2xx that made it (RFC 3261 §12.1.2).
func (d *dialog) confirm(res *sip.Response) {
	d.remoteTag = tagOf(res.To().Params)
	d.target = d.remote
	if c := res.Contact(); reachable(c) {
		d.target = c.Address
	}
	d.routes = recordRoutes(res)
	slices.Reverse(d.routes)
	d.learn(res)
}

// learn takes what a message of the peer says of the methods that it takes; one
// without Allow says nothing (RFC 3261 §20.5).
func (d *dialog) learn(m header) {
	if len(m.GetHeaders("Allow")) > 0 {
		d.updates = lists(m, "Allow", string(sip.UPDATE))
	}
}

// within builds a request inside a dialog (RFC 3261 §12.2.1.1).
func (d *dialog) within(method sip.RequestMethod, seq uint32) *sip.Request {
	target, routes := d.target, d.routes
	if len(routes) > 0 && !loose(routes[0]) {
		// A strict router wants to stand in the Request-URI, the target last.
		target = routes[0]
		routes = append(append([]sip.Uri(nil), routes[1:]...), d.target)
	}
	target = *target.Clone()
	target.Headers = nil // not allowed there (§19.1.1, table 1), nor is method
	target.UriParams.Remove("method")
	req := sip.NewRequest(method, target)
	for i := range routes {
		req.AppendHeader(&sip.RouteHeader{Address: *routes[i].Clone()})
	}
	max := sip.MaxForwardsHeader(70)
	req.AppendHeader(&max)
	req.AppendHeader(&sip.FromHeader{Address: d.local, Params: tagParam(d.localTag)})
	to := &sip.ToHeader{Address: d.remote}
	if d.remoteTag != "" {
		to.Params = tagParam(d.remoteTag)
	}
	req.AppendHeader(to)
	id := sip.CallIDHeader(d.callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	return req
}

func tagParam(tag string) sip.HeaderParams { return sip.HeaderParams{{K: "tag", V: tag}} }

// hop is where a request within the dialog goes: to the first route or the remote
// target where that is an address of the trunk, else to the peer. A Contact behind
// a NAT, a name, or one that points at somebody else, is not followed.
func (d *dialog) hop(ours func(netip.Addr) bool) siptx.Target {
	u := d.target
	if len(d.routes) > 0 {
		u = d.routes[0]
	}
	addr, err := netip.ParseAddr(strings.Trim(u.Host, "[]"))
	if err != nil || !ours(addr) {
		return d.peer
	}
	t := siptx.Target{Network: networkOf(u, d.peer.Network), Name: d.peer.Name}
	port := u.Port
	if port <= 0 || port > 65535 {
		port = 5060
		if t.Network == "tls" {
			port = 5061
		}
	}
	t.Addr = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	if t.Network == d.peer.Network && t.Addr.Addr() == d.peer.Addr.Addr().Unmap() {
		t.Over = d.peer.Addr
	}
	return t
}

// networkOf is the transport to a URI. A dialog over TLS stays there, whatever its
// peer writes, and one without is not taken there: what is secret is the trunk's to say.
func networkOf(u sip.Uri, network string) string {
	if tr, _ := u.UriParams.Get("transport"); strings.EqualFold(tr, "tcp") && network != "tls" {
		return "tcp"
	}
	return network
}

// reachable reports whether a Contact can be the remote target of a dialog.
func reachable(c *sip.ContactHeader) bool {
	return c != nil && !c.Address.Wildcard && c.Address.Host != "" &&
		(strings.EqualFold(c.Address.Scheme, "sip") || strings.EqualFold(c.Address.Scheme, "sips"))
}

// recordRoutes are the URIs of Record-Route in the order written.
func recordRoutes(m header) []sip.Uri {
	var routes []sip.Uri
	for _, h := range m.GetHeaders("Record-Route") {
		if r, ok := h.(*sip.RecordRouteHeader); ok {
			routes = append(routes, r.Address)
		}
	}
	return routes
}

func loose(u sip.Uri) bool { return u.UriParams.Has("lr") }
