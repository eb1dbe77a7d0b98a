package siptx

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/emiago/sipgo/sip"
)

// pair returns two layers on loopback; the second answers every request with 100,
// 180 and 200 (INVITE) or with 200.
func pair(t testing.TB, network string) (client *Layer, to Target, done func()) {
	t.Helper()
	reply := func(tx *ServerTx, req *sip.Request) {
		codes := []int{100, 180, 200}
		if !req.IsInvite() {
			codes = codes[2:]
		}
		for _, code := range codes {
			if err := tx.Respond(answer(req, code, "Text", "t")); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrTransport) {
				t.Error(err)
			}
		}
	}
	server, err := New(Options{Handler: answeringTU{quietTU{}, reply}})
	if err != nil {
		t.Fatal(err)
	}
	client, err = New(Options{Handler: quietTU{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = client.Listen(network, loopback); err != nil {
		t.Fatal(err)
	}
	addr, err := server.Listen(network, loopback)
	if err != nil {
		t.Fatal(err)
	}
	return client, Target{Network: network, Addr: addr}, func() {
		for _, l := range []*Layer{client, server} {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
			if s := l.Stats(); s.ClientTx != 0 || s.ServerTx != 0 || s.Conns != 0 || s.Panics != 0 {
				t.Errorf("left after Close: %+v", s)
			}
		}
	}
}

// A quietTU takes everything and does nothing.
type quietTU struct{}

func (quietTU) OnRequest(*ServerTx, *sip.Request)     {}
func (quietTU) OnAck(*sip.Request)                    {}
func (quietTU) OnCancel(*ServerTx, *sip.Request)      {}
func (quietTU) OnStray(*sip.Response, netip.AddrPort) {}

// An answeringTU answers requests and forgets the rest.
type answeringTU struct {
	quietTU
	answer func(*ServerTx, *sip.Request)
}

func (a answeringTU) OnRequest(tx *ServerTx, req *sip.Request) { a.answer(tx, req) }

func TestCloseUnderLoadEndsEveryTransactionExactlyOnce(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			client, to, done := pair(t, network)
			var started, ended, after atomic.Int64
			var closed atomic.Bool
			var wg sync.WaitGroup
			busy := make(chan struct{}, 4)
			for range 4 {
				wg.Go(func() {
					for n := 0; ; n++ {
						req := request(sip.OPTIONS)
						_, err := client.Request(req, to, func(o Outcome) {
							ended.Add(1)
							if closed.Load() {
								after.Add(1)
							}
						})
						if n == 200 {
							busy <- struct{}{}
						}
						if errors.Is(err, ErrClosed) {
							return
						}
						if err == nil {
							started.Add(1)
						}
					}
				})
			}
			next(t, busy)
			done() // while they go on
			closed.Store(true)
			wg.Wait()
			if started.Load() != ended.Load() || after.Load() != 0 {
				t.Fatalf("%d started, %d ended, %d told after Close", started.Load(), ended.Load(), after.Load())
			}
		})
	}
}

func TestCallsOverALossyNetworkAllEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		far := newTU()
		far.answer = func(tx *ServerTx, req *sip.Request) {
			_ = tx.Respond(answer(req, 180, "Ringing", "t"))
			_ = tx.Respond(answer(req, 486, "Busy", "t"))
		}
		b, err := New(Options{Handler: far})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.serve(r.peer, r.peer.addr); err != nil {
			t.Fatal(err)
		}
		// Every message is lost at first, and each third time after: whatever the
		// order in which a hundred calls send, none is unluckier than the others.
		sent := map[string]int{}
		r.set(func() {
			r.lose = func(_ netip.AddrPort, text string) bool { sent[text]++; return sent[text]%3 == 1 }
		})
		finals := 0
		var mu sync.Mutex
		for i := range 100 {
			req := request(sip.INVITE)
			id := sip.CallIDHeader(fmt.Sprint("lossy-", i))
			req.ReplaceHeader(&id)
			if _, err := r.l.Request(req, r.target(), func(o Outcome) {
				mu.Lock()
				defer mu.Unlock()
				if o.Err != nil {
					t.Errorf("%v", o.Err)
				} else if o.Res.StatusCode >= 200 {
					finals++
				}
			}); err != nil {
				t.Fatal(err)
			}
		}
		<-time.After(2 * time.Minute)
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		if s, f := b.Stats(), r.l.Stats(); s.ServerTx != 0 || f.ClientTx != 0 || finals != 100 {
			t.Fatalf("%d final responses\n%+v\n%+v", finals, s, f)
		}
	})
}

// FuzzDatagrams sends two datagrams through the real dispatcher, in the midst of an
// INVITE of ours and one of theirs; the TU answers whatever reaches it.
func FuzzDatagrams(f *testing.F) {
	files, err := filepath.Glob("testdata/rfc4475/*.sip")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, b)
	}
	f.Add([]byte(incoming("ACK", "z9hG4bKin")), []byte(incoming("CANCEL", "z9hG4bKin")))
	refuse := func(tx *ServerTx, req *sip.Request) { _ = tx.Respond(answer(req, 404, "Not Found", "t")) }
	var bad atomic.Pointer[string]
	l, err := New(Options{Handler: answeringTU{quietTU{}, refuse}, Check: func(_ string, raw []byte) error {
		if m, refused := parse(raw); refused != nil && !strings.HasPrefix(string(raw), "SIP/2.0 4") && !strings.HasPrefix(string(raw), "SIP/2.0 505") {
			s := refused.why + "\n" + string(raw)
			bad.Store(&s)
		} else if refused == nil && m.res == nil && m.req == nil {
			s := "empty"
			bad.Store(&s)
		}
		return nil
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { _ = l.Close() })
	w := newWire()
	us, peer := w.open("192.0.2.1:5060"), w.open("192.0.2.9:5062")
	if err := l.serve(us, us.addr); err != nil {
		f.Fatal(err)
	}
	from := flow{socket: l.sockets[0], remote: peer.addr}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		l.receive([]byte(incoming("INVITE", "z9hG4bKin")), from)
		l.receive(a, from)
		l.receive(b, from)
		cut(string(a)+string(b), len(a)/2)
		for len(peer.in) > 0 {
			<-peer.in
		}
		if n := l.Stats().Panics; n != 0 {
			t.Fatalf("%d panics", n)
		}
		if s := bad.Load(); s != nil {
			t.Fatalf("sent what we would refuse: %s", *s)
		}
		l.endAll()
	})
}

// BenchmarkInviteTransaction is one call's worth of transactions between two layers on
// loopback, both in this process: INVITE, 100, 180, 200, ACK, BYE, 200. Timers are
// short, so that what lingers stays small.
func BenchmarkInviteTransaction(b *testing.B) {
	for _, network := range []string{"udp", "tcp"} {
		b.Run(network, func(b *testing.B) { benchmarkCalls(b, network) })
	}
}

func benchmarkCalls(b *testing.B, network string) {
	client, to, done := pair(b, network)
	defer done()
	answered := make(chan struct{}, 1)
	final := func(o Outcome) {
		if o.Err != nil {
			b.Error(o.Err)
		}
		if o.Err != nil || o.Res.StatusCode >= 200 {
			answered <- struct{}{}
		}
	}
	b.ReportAllocs()
	for i := range b.N {
		id := sip.CallIDHeader(fmt.Sprint("bench-", i))
		for _, m := range []sip.RequestMethod{sip.INVITE, sip.ACK, sip.BYE} {
			req := request(m)
			req.ReplaceHeader(&id)
			if m == sip.ACK {
				if err := client.Send(req, to); err != nil {
					b.Fatal(err)
				}
				continue
			}
			if _, err := client.Request(req, to, final); err != nil {
				b.Fatal(err)
			}
			<-answered
		}
	}
}
