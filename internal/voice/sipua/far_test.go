package sipua

import (
	"net/netip"
	"testing"
	"time"

	"github.com/emiago/sipgo/sip"

	"tandem/internal/e164"
	"tandem/internal/voice/siptx"
)

var bobsCaller = e164.MustParse(virtual)

// far is a carrier over TCP, on the transactions of siptx.
type far struct {
	layer *siptx.Layer
	addr  netip.AddrPort
	asked chan *siptx.ServerTx
	last  *siptx.ServerTx
}

func (r *rig) farTCP(ip string) *far {
	r.t.Helper()
	f := &far{asked: make(chan *siptx.ServerTx, 16)}
	var err error
	if f.layer, err = siptx.New(siptx.Options{Handler: f}); err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = f.layer.Close() })
	if f.addr, err = f.layer.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), 0)); err != nil {
		r.t.Fatal(err)
	}
	return f
}

// OnRequest and the others are those of siptx.Handler.
func (f *far) OnRequest(tx *siptx.ServerTx, _ *sip.Request) { f.asked <- tx }
func (f *far) OnAck(*sip.Request)                           {}
func (f *far) OnCancel(*siptx.ServerTx, *sip.Request)       {}
func (f *far) OnStray(*sip.Response, netip.AddrPort)        {}

// request waits for a request.
func (f *far) request(t testing.TB, method sip.RequestMethod) *sip.Request {
	t.Helper()
	select {
	case f.last = <-f.asked:
		if got := f.last.Request().Method; got != method {
			t.Fatalf("%s, want %s", got, method)
		}
		return f.last.Request()
	case <-time.After(patience):
		t.Fatalf("no %s came", method)
		return nil
	}
}

// answer answers the last request.
func (f *far) answer(t testing.TB, status int) {
	t.Helper()
	c := contactAt(f.addr, "tcp")
	if err := f.last.Respond(response(f.last.Request(), status, "far", c, []byte(sdpBody))); err != nil {
		t.Fatal(err)
	}
}
