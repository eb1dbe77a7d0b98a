package phone

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/ladder"
	"tandem/internal/voice/siptx"
)

// A Header is a header field, written as it is.
type Header struct{ Name, Value string }

// allow is what a phone understands (RFC 3261 §20.5).
const allow = "INVITE, ACK, CANCEL, BYE, OPTIONS, INFO, UPDATE, MESSAGE, NOTIFY, REFER, PRACK"

// A party is a From or To: who it names, and the tag.
type party struct {
	display string
	uri     sip.Uri
	tag     string
}

// partyOf makes a party of a user part, or of user@host.
func partyOf(display, user string, host netip.AddrPort, domain string) party {
	p := party{display: display, uri: sip.Uri{Scheme: "sip", User: user, Host: domain}}
	if at := strings.LastIndexByte(user, '@'); at >= 0 {
		p.uri.User, p.uri.Host = user[:at], user[at+1:]
	}
	if p.uri.Host == "" {
		p.uri.Host, p.uri.Port = host.Addr().String(), int(host.Port())
	}
	return p
}

func (p party) params() sip.HeaderParams {
	if p.tag == "" {
		return nil
	}
	return sip.HeaderParams{{K: "tag", V: p.tag}}
}

// A dialog is what RFC 3261 §12 keeps for one side. Before it is confirmed it
// serves to build the first request.
type dialog struct {
	id            string // Call-ID
	local, remote party
	target        sip.Uri
	routes        []sip.Uri
	hop           siptx.Target // where the first request went, or came from
	seq           uint32       // of our last request
	remoteSeq     uint32       // of the far side's last request, 0 before any
}

// request builds a request within the dialog (§12.2.1.1) or the one that starts
// it, without Via, and says where it goes. seq is given for ACK, which repeats
// that of its INVITE.
func (d *dialog) request(method sip.RequestMethod, seq uint32) (*sip.Request, siptx.Target) {
	uri, routes := d.target, d.routes
	to := d.resolve(uri)
	if len(routes) > 0 {
		to = d.resolve(routes[0])
		if !routes[0].UriParams.Has("lr") { // a strict router: it wants to be the Request-URI
			uri, routes = routes[0], append(slices.Clone(routes[1:]), uri)
		}
	}
	r := sip.NewRequest(method, uri)
	for _, u := range routes {
		r.AppendHeader(&sip.RouteHeader{Address: u})
	}
	hops, id := sip.MaxForwardsHeader(70), sip.CallIDHeader(d.id)
	r.AppendHeader(&hops)
	r.AppendHeader(&sip.FromHeader{DisplayName: d.local.display, Address: d.local.uri, Params: d.local.params()})
	r.AppendHeader(&sip.ToHeader{DisplayName: d.remote.display, Address: d.remote.uri, Params: d.remote.params()})
	r.AppendHeader(&id)
	r.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	return r, to
}

// next counts a new request of ours.
func (d *dialog) next() uint32 {
	d.seq++
	return d.seq
}

// resolve finds the address of a URI that names one; a phone asks no DNS, and sends
// everything else where the first request went.
func (d *dialog) resolve(uri sip.Uri) siptx.Target {
	ip, err := netip.ParseAddr(strings.Trim(uri.Host, "[]"))
	if err != nil {
		return d.hop
	}
	port := uri.Port
	network := d.hop.Network
	if transport, ok := uri.UriParams.Get("transport"); ok && network != "tls" {
		network = strings.ToLower(transport)
	}
	if port == 0 {
		port = 5060
		if network == "tls" {
			port = 5061
		}
	}
	to := siptx.Target{Network: network, Addr: netip.AddrPortFrom(ip, uint16(port)), Name: d.hop.Name}
	if to.Addr.Addr() == d.hop.Addr.Addr() && network == d.hop.Network {
		to.Over = d.hop.Addr
	}
	return to
}

// confirm completes a caller's dialog from a 2xx (§12.1.2).
func (d *dialog) confirm(res *sip.Response) {
	d.remote.tag = tagOf(res.To())
	d.retarget(res)
	d.routes = nil
	records := res.GetHeaders("Record-Route")
	for _, h := range slices.Backward(records) {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			d.routes = append(d.routes, rr.Address)
		}
	}
}

// dialogOf makes a callee's dialog from an INVITE (§12.1.1).
func dialogOf(req *sip.Request, from siptx.Target, localTag string) dialog {
	f, t := req.From(), req.To()
	d := dialog{
		id:     string(*req.CallID()),
		local:  party{t.DisplayName, t.Address, localTag},
		remote: party{f.DisplayName, f.Address, tagOf(f)},
		target: f.Address, hop: from, remoteSeq: req.CSeq().SeqNo,
	}
	d.retarget(req)
	for _, h := range req.GetHeaders("Record-Route") {
		if rr, ok := h.(*sip.RecordRouteHeader); ok {
			d.routes = append(d.routes, rr.Address)
		}
	}
	return d
}

// retarget takes the Contact of a message that refreshes the target (§12.2).
func (d *dialog) retarget(m sip.Message) {
	for _, h := range m.GetHeaders("Contact") {
		if c, ok := h.(*sip.ContactHeader); ok && !c.Address.Wildcard {
			d.target = c.Address
			return
		}
	}
}

func tagOf(h interface{ Value() string }) string {
	switch h := h.(type) {
	case *sip.FromHeader:
		if h != nil {
			tag, _ := h.Params.Get("tag")
			return tag
		}
	case *sip.ToHeader:
		if h != nil {
			tag, _ := h.Params.Get("tag")
			return tag
		}
	}
	return ""
}

// response answers a request (§8.2.6.2) with the given To tag.
func response(req *sip.Request, status int, reason, tag string) *sip.Response {
	if reason == "" {
		reason = ladder.Phrase(status)
	}
	res := sip.NewResponse(status, reason)
	for _, name := range [...]string{"Via", "Record-Route"} {
		for _, h := range req.GetHeaders(name) {
			res.AppendHeader(h)
		}
	}
	to := sip.HeaderClone(req.To()).(*sip.ToHeader)
	if tagOf(to) == "" && tag != "" {
		to.Params.Add("tag", tag)
	}
	res.AppendHeader(req.From())
	res.AppendHeader(to)
	res.AppendHeader(req.CallID())
	res.AppendHeader(req.CSeq())
	return res
}

type message interface {
	AppendHeader(sip.Header)
	SetBody([]byte)
}

// add puts header fields into a message.
func add(m message, headers []Header) {
	for _, h := range headers {
		m.AppendHeader(sip.NewHeader(h.Name, h.Value))
	}
}

// body puts a body into a message, if there is one.
func body(m message, kind string, b []byte) {
	if len(b) == 0 {
		return
	}
	t := sip.ContentTypeHeader(kind)
	m.AppendHeader(&t)
	m.SetBody(b)
}

const typeSDP = "application/sdp"

// described returns the description that a message holds, nil if none.
func described(m interface{ Body() []byte }, headers func(string) sip.Header) []byte {
	h := headers("Content-Type")
	if len(m.Body()) == 0 || h == nil {
		return nil
	}
	kind, _, _ := strings.Cut(h.Value(), ";")
	if !strings.EqualFold(strings.TrimSpace(kind), typeSDP) {
		return nil
	}
	return m.Body()
}
