package phone_test

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/voice/phone"
	"tandem/internal/voice/siptx"
)

// A peer does what a phone never would: it answers after a CANCEL, forgets an ACK,
// routes strictly. It has transactions, and everything else is said in the test.
type peer struct {
	t        *testing.T
	layer    *siptx.Layer
	addr     netip.AddrPort
	requests chan incoming
	acks     chan *sip.Request
	cancels  chan *siptx.ServerTx
	strays   chan *sip.Response
}

type incoming struct {
	tx  *siptx.ServerTx
	req *sip.Request
}

func (p *peer) OnRequest(tx *siptx.ServerTx, req *sip.Request) { p.requests <- incoming{tx, req} }
func (p *peer) OnAck(req *sip.Request)                         { p.acks <- req }
func (p *peer) OnCancel(tx *siptx.ServerTx, _ *sip.Request)    { p.cancels <- tx }
func (p *peer) OnStray(res *sip.Response, _ netip.AddrPort)    { p.strays <- res }
func (p *peer) respond(in incoming, res *sip.Response)         { must(p.t, in.tx.Respond(res)) }
func (p *peer) says(in incoming, code int, tag string, more ...any) {
	p.respond(in, p.build(in.req, code, tag, more...))
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{t: t, requests: make(chan incoming, 64), acks: make(chan *sip.Request, 64),
		cancels: make(chan *siptx.ServerTx, 64), strays: make(chan *sip.Response, 64)}
	layer, err := siptx.New(siptx.Options{Handler: p})
	must(t, err)
	p.layer = layer
	t.Cleanup(func() { must(t, layer.Close()) })
	p.addr, err = layer.Listen("udp", netip.AddrPortFrom(loopback, 0))
	must(t, err)
	return p
}

// build makes a response; more are header fields ("Name: value" pairs) or a body.
func (p *peer) build(req *sip.Request, code int, tag string, more ...any) *sip.Response {
	res := sip.NewResponse(code, "Whatever")
	for _, name := range []string{"Via", "From", "To", "Call-ID", "CSeq"} {
		for _, h := range req.GetHeaders(name) {
			if to, ok := h.(*sip.ToHeader); ok && !to.Params.Has("tag") && tag != "" {
				to = sip.HeaderClone(to).(*sip.ToHeader)
				to.Params.Add("tag", tag)
				h = to
			}
			res.AppendHeader(h)
		}
	}
	decorate(res, more)
	return res
}

func decorate(m interface {
	AppendHeader(sip.Header)
	SetBody([]byte)
}, more []any) {
	for _, x := range more {
		switch x := x.(type) {
		case phone.Header:
			m.AppendHeader(sip.NewHeader(x.Name, x.Value))
		case []byte:
			m.AppendHeader(sip.NewHeader("Content-Type", "application/sdp"))
			m.SetBody(x)
		}
	}
}

func (p *peer) contact() phone.Header {
	return phone.Header{Name: "Contact", Value: fmt.Sprintf("<sip:peer@%s>", p.addr)}
}

// request builds a request to a phone; to holds the To tag, if any.
func (p *peer) request(method sip.RequestMethod, phone netip.AddrPort, id string, seq uint32, toTag string, more ...any) *sip.Request {
	uri := func(a netip.AddrPort) sip.Uri {
		return sip.Uri{Scheme: "sip", User: "x", Host: a.Addr().String(), Port: int(a.Port())}
	}
	req := sip.NewRequest(method, uri(phone))
	callID := sip.CallIDHeader(id)
	to := &sip.ToHeader{Address: uri(phone)}
	if toTag != "" {
		to.Params = sip.HeaderParams{{K: "tag", V: toTag}}
	}
	hops := sip.MaxForwardsHeader(70)
	req.AppendHeader(&hops)
	req.AppendHeader(&sip.FromHeader{Address: uri(p.addr), Params: sip.HeaderParams{{K: "tag", V: "peer"}}})
	req.AppendHeader(to)
	req.AppendHeader(&callID)
	req.AppendHeader(&sip.CSeqHeader{SeqNo: seq, MethodName: method})
	decorate(req, append([]any{p.contact()}, more...))
	return req
}

// ask sends a request and returns all that comes back.
func (p *peer) ask(req *sip.Request, to netip.AddrPort) <-chan siptx.Outcome {
	out := make(chan siptx.Outcome, 64)
	_, err := p.layer.Request(req, siptx.Target{Network: "udp", Addr: to}, func(o siptx.Outcome) { out <- o })
	must(p.t, err)
	return out
}

// final waits for the final response.
func (p *peer) final(out <-chan siptx.Outcome) *sip.Response {
	p.t.Helper()
	for {
		o := next(p.t, out)
		must(p.t, o.Err)
		if o.Res.StatusCode >= 200 {
			return o.Res
		}
	}
}

func (p *peer) expect(method string) incoming {
	p.t.Helper()
	in := next(p.t, p.requests)
	if string(in.req.Method) != method {
		p.t.Fatalf("got %s, want %s", in.req.Method, method)
	}
	return in
}

func next[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

// pcma is a description that any phone can take.
func pcma(port int) []byte {
	return fmt.Appendf(nil, "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio %d RTP/AVP 8\r\n", port)
}

func tagIn(res *sip.Response) string {
	tag, _ := res.To().Params.Get("tag")
	return tag
}
