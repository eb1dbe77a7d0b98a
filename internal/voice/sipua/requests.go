package sipua

import (
	"iter"
	"strings"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// OnRequest gets every new request that the gate let in.
func (ua *Agent) OnRequest(tx *siptx.ServerTx, req *sip.Request) {
	if status := unfit(req); status != 0 {
		ua.refuse(tx, status)
		return
	}
	if tag := tagOf(req.To().Params); tag != "" {
		ua.within(tx, req, tag)
		return
	}
	switch req.Method {
	case sip.INVITE:
		ua.incoming(tx, req)
	case sip.OPTIONS:
		ua.asked(tx, req)
	case sip.BYE, sip.UPDATE, sip.PRACK:
		ua.refuse(tx, 481)
	default:
		ua.decline(tx)
	}
}

// unfit finds what is wrong with a request whatever it wants; 0 if nothing. Only
// an INVITE is passed on, so only an INVITE can run out of hops here.
func unfit(req *sip.Request) (status int) {
	if m := req.MaxForwards(); m != nil && m.Val() == 0 && req.Method == sip.INVITE && tagOf(req.To().Params) == "" {
		return 483
	}
	if len(unsupported(req)) > 0 {
		return 420
	}
	switch strings.ToLower(req.Recipient.Scheme) {
	case "sip", "sips", "tel":
		return 0
	}
	return 416
}

// unsupported are the extensions that a request requires and that we do not do.
func unsupported(req *sip.Request) (tags []string) {
	for tag := range listed(req, "Require") {
		if !strings.EqualFold(tag, optionReliable) && !strings.EqualFold(tag, optionTimer) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// listed goes through the words of a header field that is a list (Require, Supported).
func listed(m header, name string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, h := range m.GetHeaders(name) {
			for _, word := range splitList(h.Value()) {
				if word != "" && !yield(word) {
					return
				}
			}
		}
	}
}

// lists reports whether a word stands in a header field that is a list.
func lists(m header, name, word string) bool {
	for w := range listed(m, name) {
		if strings.EqualFold(w, word) {
			return true
		}
	}
	return false
}

type header interface {
	GetHeaders(name string) []sip.Header
}

// decline answers a method that we do not do, in a dialog or outside of one.
func (ua *Agent) decline(tx *siptx.ServerTx) {
	if tx.Request().Method == sip.REFER {
		ua.refuse(tx, 603)
		return
	}
	ua.refuse(tx, 405)
}

// asked answers OPTIONS outside of any dialog: another node that it is there, see AskNode,
// and everybody else whether it takes calls.
func (ua *Agent) asked(tx *siptx.ServerTx, req *sip.Request) {
	switch from := tx.Source().Addr().Unmap(); {
	case ua.isAskedFor(req, from):
		ua.capable(tx, newTag(), ua.named(siptx.Target{Network: tx.Network(), Addr: tx.Source()}))
	case !ua.isPeer(from):
		ua.refuse(tx, 404)
	case ua.o.Draining != nil && ua.o.Draining():
		ua.refuse(tx, 503)
	default:
		ua.capable(tx, newTag())
	}
}

// capable answers OPTIONS (RFC 3261 §11.2).
func (ua *Agent) capable(tx *siptx.ServerTx, tag string, more ...sip.Header) {
	res := response(tx.Request(), 200, tag, nil, nil)
	res.AppendHeader(sip.NewHeader("Accept", string(sdpType)))
	for _, h := range more {
		res.AppendHeader(h)
	}
	_ = ua.respond(tx, res) // logged there; the peer asks again
}

// refuse answers a request with a final response that says no, in a dialog or
// outside of one.
func (ua *Agent) refuse(tx *siptx.ServerTx, status int) { ua.refuseWith(tx, status, "") }

// refuseWith does so with a phrase that says more than the status; "" = its own.
func (ua *Agent) refuseWith(tx *siptx.ServerTx, status int, phrase string) {
	res := response(tx.Request(), status, newTag(), nil, nil)
	if phrase != "" {
		res.Reason = phrase
	}
	switch status {
	case 415:
		res.AppendHeader(sip.NewHeader("Accept", string(sdpType)))
		res.AppendHeader(sip.NewHeader("Accept-Encoding", "identity"))
	case 420:
		res.AppendHeader(sip.NewHeader("Unsupported", strings.Join(unsupported(tx.Request()), ", ")))
	case 422: // RFC 4028 §6
		res.AppendHeader(sip.NewHeader("Min-SE", itoa(leastInterval)))
	case 500:
		res.AppendHeader(sip.NewHeader("Retry-After", retryAfterGlare()))
	}
	_ = ua.respond(tx, res) // logged there; the peer asks again
}

// respond sends a response. Most callers can do nothing about one that is not sent.
func (ua *Agent) respond(tx *siptx.ServerTx, res *sip.Response) error {
	err := tx.Respond(res)
	if err != nil {
		ua.o.Log.Debug("response not sent", "status", res.StatusCode, "error", err.Error())
	}
	return err
}

// incoming makes a leg of an INVITE and hands the call over.
func (ua *Agent) incoming(tx *siptx.ServerTx, req *sip.Request) {
	if strings.EqualFold(req.Recipient.Scheme, "sips") && tx.Network() != "tls" {
		ua.refuse(tx, 416) // what is not secret is no sips (RFC 3261 §26.2.2)
		return
	}
	trunk, ok := ua.trunks.bySource(tx.Source().Addr())
	if !ok { // reached by our calls, or was a trunk when its calls began
		ua.refuse(tx, 403)
		return
	}
	if !reachable(req.Contact()) {
		ua.refuseWith(tx, 400, "Missing Contact")
		return
	}
	if tagOf(req.From().Params) == ua.tagFor(string(*req.CallID())) {
		ua.refuse(tx, 482) // our own INVITE, which a proxy has sent to where it came from
		return
	}
	offer, ok := description(req)
	if !ok {
		ua.refuse(tx, 415)
		return
	}
	if termsOf(req).brief() {
		ua.refuse(tx, 422)
		return
	}
	now := ua.o.Clock()
	in := b2bua.Invite{Offer: offer, SRTP: trunk.SRTP, Hops: hopsLeft(req), Diverted: diverted(req), Ask: masking.Ask{Call: ua.callOf(tx), Trunk: trunk.Name,
		Called: called(req, trunk.Trunk), Caller: caller(req, trunk.Trunk), Received: now}}
	l := ua.newIncoming(tx, req, trunk, in.Call)
	in.Leg = l
	_ = ua.respond(tx, response(req, 100, "", nil, nil))
	ua.o.OnInvite(in)
}

// callOf is the call that an INVITE begins; its ladder has begun with it.
func (ua *Agent) callOf(invite *siptx.ServerTx) masking.CallID {
	if s, ok := invite.Note.(*story); ok {
		return s.id
	}
	return ua.o.NewCallID()
}

// diverted reports whether a call was meant for another number and forwarded to
// ours (RFC 5806, RFC 7044: a history of one entry is that of the call itself).
func diverted(req *sip.Request) bool {
	if req.GetHeader("Diversion") != nil {
		return true
	}
	entries := 0
	for _, h := range req.GetHeaders("History-Info") {
		entries += len(splitList(h.Value()))
	}
	return entries > 1
}

// hopsLeft is the Max-Forwards of the other leg, so that a loop over our own
// trunks runs dry (RFC 3261 §8.1.1.6: 70 where there is none).
func hopsLeft(req *sip.Request) int {
	if m := req.MaxForwards(); m != nil {
		return min(int(m.Val()), 255) - 1
	}
	return 69
}

// OnCancel tells the call that the caller gave up; the call decides whether the
// cancellation or its answer came first (RFC 3261 §9.2). A re-INVITE that is
// cancelled leaves the call as it is.
func (ua *Agent) OnCancel(invite *siptx.ServerTx, _ *sip.Request) {
	if tag := tagOf(invite.Request().To().Params); tag != "" {
		if l := ua.find(string(*invite.Request().CallID()), tag); l != nil {
			l.withdraw(invite)
		}
		return
	}
	ua.mu.Lock()
	l := ua.invites[invite]
	ua.mu.Unlock()
	if l != nil && !l.recalled() {
		l.tell(b2bua.Event{Kind: b2bua.EvCancelled})
	}
}

// OnAck gets the ACK for a 2xx of ours.
func (ua *Agent) OnAck(req *sip.Request) {
	l := ua.find(string(*req.CallID()), tagOf(req.To().Params))
	if l == nil {
		ua.ackAstray(req)
		return
	}
	if !l.isPeer(req) {
		return
	}
	answer, _ := description(req)
	l.acknowledged(req.CSeq().SeqNo, answer)
}

// within handles a request inside a dialog.
func (ua *Agent) within(tx *siptx.ServerTx, req *sip.Request, tag string) {
	l := ua.find(string(*req.CallID()), tag)
	if l == nil && ua.heardLate(req, tag) {
		_ = ua.respond(tx, response(req, 200, "", nil, nil)) // logged there
		return
	}
	if l == nil {
		ua.astray(tx, req)
		return
	}
	switch l.place(req) {
	case foreign:
		ua.refuse(tx, 481)
	case stale:
		ua.refuseWith(tx, 500, "CSeq Out Of Order")
	case premature:
		l.onEarly(tx, req)
	case current:
		l.onRequest(tx, req)
	}
}

// onRequest handles a request of the dialog that the leg has.
func (l *leg) onRequest(tx *siptx.ServerTx, req *sip.Request) {
	switch req.Method {
	case sip.BYE:
		l.onBye(tx)
	case sip.INVITE, sip.UPDATE:
		l.onOffer(tx, req)
	case sip.OPTIONS:
		l.ua.capable(tx, "")
	case sip.INFO:
		l.onInfo(tx, req)
	case sip.PRACK:
		l.onPrack(tx, req)
	default:
		l.ua.decline(tx)
	}
}
