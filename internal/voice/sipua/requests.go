package sipua

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/siptx"
)

// OnRequest gets every new request of a trunk.
func (ua *Agent) OnRequest(tx *siptx.ServerTx, req *sip.Request) {
	trunk, known := ua.trunks.bySource(tx.Source().Addr())
	if !known {
		return // the trunk has just been removed; strangers get nothing
	}
	if status, phrase := unfit(req); status != 0 {
		ua.refuse(tx, status, phrase)
		return
	}
	if tag, ok := req.To().Params.Get("tag"); ok && tag != "" {
		ua.within(tx, req, tag)
		return
	}
	switch req.Method {
	case sip.INVITE:
		ua.incoming(tx, req, trunk)
	case sip.OPTIONS:
		if ua.o.Draining != nil && ua.o.Draining() {
			ua.refuse(tx, 503, "Service Unavailable")
			return
		}
		res := response(req, 200, "OK", newTag(), nil, nil)
		res.AppendHeader(sip.NewHeader("Accept", string(sdpType)))
		ua.respond(tx, res)
	case sip.BYE, sip.UPDATE:
		ua.refuse(tx, 481, "Call/Transaction Does Not Exist")
	case sip.REFER:
		ua.refuse(tx, 603, "Decline")
	default:
		ua.refuse(tx, 405, "Method Not Allowed")
	}
}

// unfit finds what is wrong with a request whatever its method; 0 if nothing.
func unfit(req *sip.Request) (status int, phrase string) {
	if m := req.MaxForwards(); m != nil && m.Val() == 0 && req.Method != sip.OPTIONS {
		return 483, "Too Many Hops"
	}
	if req.GetHeader("Require") != nil {
		return 420, "Bad Extension"
	}
	switch s := strings.ToLower(req.Recipient.Scheme); s {
	case "sip", "sips", "tel":
		return 0, ""
	}
	return 416, "Unsupported URI Scheme"
}

// refuse answers a request that belongs to no leg.
func (ua *Agent) refuse(tx *siptx.ServerTx, status int, phrase string) {
	req := tx.Request()
	res := response(req, status, phrase, newTag(), nil, nil)
	if status == 420 {
		for _, h := range req.GetHeaders("Require") {
			res.AppendHeader(sip.NewHeader("Unsupported", h.Value()))
		}
	}
	if status == 415 {
		res.AppendHeader(sip.NewHeader("Accept", string(sdpType)))
	}
	ua.respond(tx, res)
}

// respond sends a response; one that cannot be sent is the peer's to ask for again.
func (ua *Agent) respond(tx *siptx.ServerTx, res *sip.Response) {
	if err := tx.Respond(res); err != nil {
		ua.o.Log.Debug("response not sent", "status", res.StatusCode, "error", err.Error())
	}
}

// incoming makes a leg of an INVITE and hands the call over.
func (ua *Agent) incoming(tx *siptx.ServerTx, req *sip.Request, trunk masking.Trunk) {
	if req.Contact() == nil {
		ua.refuse(tx, 400, "Missing Contact")
		return
	}
	offer, ok := description(req)
	if !ok {
		ua.refuse(tx, 415, "Unsupported Media Type")
		return
	}
	now := ua.o.Clock()
	in := b2bua.Invite{Offer: offer, Hops: hopsLeft(req), Ask: masking.Ask{Call: ua.o.NewCallID(), Trunk: trunk.Name,
		Called: called(req, trunk), Caller: caller(req, trunk), Received: now}}
	l := ua.newIncoming(tx, req, trunk, in.Call)
	in.Leg = l
	ua.respond(tx, response(req, 100, "Trying", "", nil, nil))
	ua.o.OnInvite(in)
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
// cancellation or its answer came first (RFC 3261 §9.2).
func (ua *Agent) OnCancel(invite *siptx.ServerTx, _ *sip.Request) {
	ua.mu.Lock()
	l := ua.invites[invite]
	ua.mu.Unlock()
	if l != nil {
		l.tell(b2bua.Event{Kind: b2bua.EvCancelled})
	}
}

// OnAck gets the ACK for a 2xx of ours.
func (ua *Agent) OnAck(req *sip.Request) {
	tag, _ := req.To().Params.Get("tag")
	if l := ua.find(string(*req.CallID()), tag); l != nil {
		l.acknowledged(req.CSeq().SeqNo)
	}
}

// within handles a request inside a dialog.
func (ua *Agent) within(tx *siptx.ServerTx, req *sip.Request, tag string) {
	l := ua.find(string(*req.CallID()), tag)
	if l == nil || !l.isPeer(req) {
		ua.refuse(tx, 481, "Call/Transaction Does Not Exist")
		return
	}
	if !l.inOrder(req) {
		ua.refuse(tx, 500, "CSeq Out Of Order")
		return
	}
	switch req.Method {
	case sip.BYE:
		l.onBye(tx)
	case sip.INVITE, sip.UPDATE:
		l.onOffer(tx, req)
	case sip.OPTIONS:
		ua.respond(tx, response(req, 200, "OK", tag, nil, nil))
	case sip.REFER:
		ua.refuse(tx, 603, "Decline")
	default:
		ua.refuse(tx, 405, "Method Not Allowed")
	}
}

// description gives the session description of a message: its body, or the one
// part of a multipart body that is one. ISUP and all other parts are dropped. ok is
// false when the body is something else.
func description(m interface {
	Body() []byte
	ContentType() *sip.ContentTypeHeader
}) (sdp []byte, ok bool) {
	body := m.Body()
	if len(body) == 0 {
		return nil, true
	}
	ct := m.ContentType()
	if ct == nil {
		return nil, false
	}
	kind, params, err := mime.ParseMediaType(string(*ct))
	if err != nil {
		return nil, false
	}
	if strings.EqualFold(kind, string(sdpType)) {
		return body, true
	}
	if !strings.HasPrefix(kind, "multipart/") {
		return nil, false
	}
	parts := multipart.NewReader(bytes.NewReader(body), params["boundary"])
	for {
		part, err := parts.NextRawPart()
		if err != nil {
			return nil, false
		}
		kind, _, err := mime.ParseMediaType(part.Header.Get("Content-Type"))
		if err != nil || !strings.EqualFold(kind, string(sdpType)) {
			continue
		}
		sdp, err := io.ReadAll(io.LimitReader(part, 64<<10))
		return sdp, err == nil
	}
}
