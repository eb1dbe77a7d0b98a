package sipua

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/e164"
	"tandem/internal/ladder"
	"tandem/internal/masking"
)

// This file is the header policy: every message that leaves is built here, from
// nothing. A header that is not written by one of these functions is not sent,
// so what a peer put into his own never reaches the other leg.
// What a response must repeat of its request (Via, From, To, Call-ID, CSeq,
// Record-Route) goes back to the one who wrote it.

// allowed are the methods that we answer with other than 405.
const allowed = "INVITE, ACK, CANCEL, BYE, OPTIONS, UPDATE, INFO, PRACK"

// The option tags of the extensions that we do.
const (
	optionReliable = "100rel" // RFC 3262
	optionTimer    = "timer"  // RFC 4028
)

const supported = optionReliable + ", " + optionTimer

const sdpType = sip.ContentTypeHeader("application/sdp")

// response builds a response to a request on a leg or outside one. tag is ours,
// "" on a 100. contact is nil where none belongs.
func response(req *sip.Request, status int, tag string, contact *sip.ContactHeader, body []byte) *sip.Response {
	res := sip.NewResponse(status, ladder.Phrase(status))
	for _, h := range req.GetHeaders("Via") {
		res.AppendHeader(h)
	}
	if establishes(req.Method, status) {
		for _, h := range req.GetHeaders("Record-Route") {
			res.AppendHeader(h)
		}
	}
	res.AppendHeader(req.From())
	to := &sip.ToHeader{Address: req.To().Address, DisplayName: req.To().DisplayName, Params: req.To().Params.Clone()}
	if tag != "" && tagOf(to.Params) == "" { // ";tag" without a value is none
		to.Params.Remove("tag")
		to.Params.Add("tag", tag)
	}
	res.AppendHeader(to)
	res.AppendHeader(req.CallID())
	res.AppendHeader(req.CSeq())
	if contact != nil && establishes(req.Method, status) {
		res.AppendHeader(contact)
	}
	if status == 405 || (status/100 == 2 && req.Method != sip.BYE) {
		res.AppendHeader(sip.NewHeader("Allow", allowed))
	}
	if status/100 == 2 && (req.Method == sip.INVITE || req.Method == sip.UPDATE || req.Method == sip.OPTIONS) { // RFC 3261 §11.2, §13.3.1.4
		res.AppendHeader(sip.NewHeader("Supported", supported))
	}
	if status == 503 {
		res.AppendHeader(sip.NewHeader("Retry-After", strconv.Itoa(retryAfterSeconds)))
	}
	if status == 100 {
		if h := req.GetHeader("Timestamp"); h != nil && timestamp(h.Value()) {
			res.AppendHeader(sip.NewHeader("Timestamp", h.Value()))
		}
	}
	if len(body) > 0 {
		ct := sdpType
		res.AppendHeader(&ct)
		res.SetBody(body)
	}
	return res
}

// timestamp reports whether s is what RFC 3261 §20.38 says: what a 100 must repeat
// (§8.2.6.1), and nothing else.
func timestamp(s string) bool {
	return len(s) > 0 && len(s) <= 32 && strings.Trim(s, "0123456789. ") == ""
}

// retryAfterSeconds is what a refused caller's carrier is asked to wait.
const retryAfterSeconds = 5

// establishes reports whether a response makes or refreshes a dialog, so that it
// bears Record-Route and Contact (RFC 3261 §12.1.1, RFC 3311 §5.2).
func establishes(m sip.RequestMethod, status int) bool {
	return (m == sip.INVITE && status > 100 && status < 300) || (m == sip.UPDATE && status/100 == 2)
}

// outgoingInvite is what the callee's network is told: the number to ring, the
// virtual number as caller, and our own addresses.
type outgoingInvite struct {
	trunk    masking.Trunk
	place    place
	to       e164.Number
	callerID e164.Number
	callID   string
	tag      string
	contact  *sip.ContactHeader
	hops     int
	body     []byte
}

func (o outgoingInvite) build() *sip.Request {
	self := sip.Uri{Scheme: "sip", User: format(o.callerID, o.trunk), Host: o.contact.Address.Host, Port: o.contact.Address.Port}
	peer := o.place.uri()
	peer.User = dialled(o.to, o.trunk)
	req := ownRequest(sip.INVITE, peer, self, peer, o.callID, o.tag, 1)
	hops := sip.MaxForwardsHeader(o.hops)
	req.ReplaceHeader(&hops)
	req.AppendHeader(o.contact)
	req.AppendHeader(sip.NewHeader("Allow", allowed))
	req.AppendHeader(sip.NewHeader("Supported", supported))
	ct := sdpType
	req.AppendHeader(&ct)
	req.SetBody(o.body)
	return req
}

// uri is what requests name that go there: an address as such, and a name as the
// operator wrote it, whatever server it led to (RFC 3263 §4 changes no URI).
func (p place) uri() sip.Uri {
	if name := p.name(); name != "" {
		return sip.Uri{Scheme: "sip", Host: name, Port: int(p.of.Port)}
	}
	return sip.Uri{Scheme: "sip", Host: host(p.addr.Addr()), Port: int(p.addr.Port())}
}

// contactAt is our Contact: an address and nothing about anybody.
func contactAt(a netip.AddrPort, network string) *sip.ContactHeader {
	u := sip.Uri{Scheme: "sip", Host: host(a.Addr()), Port: int(a.Port())}
	if network != "udp" {
		u.UriParams = sip.HeaderParams{{K: "transport", V: network}}
	}
	return &sip.ContactHeader{Address: u}
}

func host(a netip.Addr) string {
	a = a.Unmap()
	if a.Is6() {
		return "[" + a.String() + "]"
	}
	return a.String()
}

// outgoingRegister is what a registrar is told: the account, and where we are.
type outgoingRegister struct {
	user, domain string
	callID, tag  string
	seq          uint32
	contact      *sip.ContactHeader
	expires      time.Duration // 0 takes the registration back
}

func (o outgoingRegister) build() *sip.Request {
	domain := o.domain
	if addr, err := netip.ParseAddr(domain); err == nil {
		domain = host(addr)
	}
	account := sip.Uri{Scheme: "sip", User: o.user, Host: domain}
	req := ownRequest(sip.REGISTER, sip.Uri{Scheme: "sip", Host: domain}, account, account, o.callID, o.tag, o.seq)
	req.AppendHeader(o.contact)
	req.AppendHeader(sip.NewHeader("Expires", strconv.Itoa(int(o.expires/time.Second))))
	return req
}

// outgoingOptions asks an address of a trunk, or another node, whether it is there.
type outgoingOptions struct {
	peer        sip.Uri
	callID, tag string
	contact     *sip.ContactHeader
}

func (o outgoingOptions) build() *sip.Request {
	self := sip.Uri{Scheme: "sip", Host: o.contact.Address.Host, Port: o.contact.Address.Port}
	req := ownRequest(sip.OPTIONS, o.peer, self, o.peer, o.callID, o.tag, 1)
	req.AppendHeader(o.contact)
	req.AppendHeader(sip.NewHeader("Accept", string(sdpType)))
	return req
}

// ownRequest begins a request outside of any dialog (RFC 3261 §8.1.1).
func ownRequest(method sip.RequestMethod, target, from, to sip.Uri, callID, tag string, seq uint32) *sip.Request {
	req := sip.NewRequest(method, target)
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(&sip.FromHeader{Address: from, Params: tagParam(tag)})
	req.AppendHeader(&sip.ToHeader{Address: to})
	id := sip.CallIDHeader(callID)
	req.AppendHeader(&id)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	return req
}
