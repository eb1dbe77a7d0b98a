package relay

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var loopback = netip.MustParseAddr("127.0.0.1")

// clock is a time that moves only when told to.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2024, 6, 15, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// withEachEngine runs a test with every engine that the system has; elsewhere
// than on Linux they are the same.
func withEachEngine(t *testing.T, test func(t *testing.T, kind string)) {
	t.Helper()
	for _, kind := range []string{AutoEngine, PortableEngine} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

// engine makes an engine that the test's end closes.
func engine(t testing.TB, o Options) *Engine {
	t.Helper()
	if !o.IP.IsValid() {
		o.IP = loopback
	}
	e, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

// phone is a peer with real sockets.
type phone struct {
	t         testing.TB
	rtp, rtcp *net.UDPConn
	buf       []byte
}

func newPhone(t testing.TB, host string) *phone {
	t.Helper()
	p := &phone{t: t, buf: make([]byte, 2048)}
	for _, conn := range []**net.UDPConn{&p.rtp, &p.rtcp} {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(host), 0)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		*conn = c
	}
	return p
}

func addrOf(c *net.UDPConn) netip.AddrPort { return c.LocalAddr().(*net.UDPAddr).AddrPort() }

// remote is how the phone describes itself while talking.
func (p *phone) remote() Remote {
	return Remote{RTP: addrOf(p.rtp), RTCP: addrOf(p.rtcp), Payloads: SamePayloads(), Send: true, Receive: true}
}

func (p *phone) send(to netip.AddrPort, packet []byte) {
	p.t.Helper()
	if _, err := p.rtp.WriteToUDPAddrPort(packet, to); err != nil {
		p.t.Fatal(err)
	}
}

// receive gives the next packet on a socket, in memory of its own.
func (p *phone) receive(c *net.UDPConn) []byte {
	p.t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, _, err := c.ReadFromUDPAddrPort(p.buf)
	if err != nil {
		p.t.Fatalf("nothing arrived: %v", err)
	}
	return bytes.Clone(p.buf[:n])
}

// media gives the header and the media of the next RTP packet.
func (p *phone) media() (header, []byte) {
	p.t.Helper()
	b := p.receive(p.rtp)
	h, ok := parseHeader(b)
	if !ok {
		p.t.Fatalf("the relay sent no RTP: %x", b)
	}
	return h, b[h.start:h.end]
}

// empty fails when anything waits on the phone's RTP socket.
func (p *phone) empty() {
	p.t.Helper()
	_ = p.rtp.SetReadDeadline(time.Now().Add(time.Millisecond))
	if n, _, err := p.rtp.ReadFromUDPAddrPort(p.buf); err == nil {
		p.t.Errorf("%d bytes arrived that must not: %x", n, p.buf[:n])
	}
}

// packet is a plain RTP packet.
func packet(payload uint8, sequence uint16, timestamp, ssrc uint32, media []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(media))
	b[0], b[1] = 0x80, payload
	binary.BigEndian.PutUint16(b[2:], sequence)
	binary.BigEndian.PutUint32(b[4:], timestamp)
	binary.BigEndian.PutUint32(b[8:], ssrc)
	return append(b, media...)
}

// call is an open session with a phone on each side.
type call struct {
	*Session
	a, b *phone
}

// opened is a session of which neither side is described yet.
func opened(t testing.TB, e *Engine) *Session {
	t.Helper()
	s, err := e.Open()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// newSilent is a call in it between two phones.
func newSilent(t testing.TB, e *Engine) call {
	t.Helper()
	return call{opened(t, e), newPhone(t, "127.0.0.1"), newPhone(t, "127.0.0.1")}
}

func newCall(t testing.TB, e *Engine) call {
	t.Helper()
	c := newSilent(t, e)
	c.connect(A, c.a.remote())
	c.connect(B, c.b.remote())
	return c
}

func (c call) connect(side Side, r Remote) {
	c.a.t.Helper()
	if err := c.Connect(side, r); err != nil {
		c.a.t.Fatal(err)
	}
}

// rewritten runs a packet that came to A through all that our code does for it,
// without the sockets, and reports whether it would leave.
func (c call) rewritten(b []byte, from netip.AddrPort) bool {
	n := &c.ends[A]
	n.mu.Lock()
	defer n.mu.Unlock()
	p, _ := c.rewrite(A, b, from, 0)
	return p != nil
}

// eventually waits for something that no packet tells of.
func eventually(t testing.TB, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen")
		}
	}
}

// random gives n bytes that stand for speech.
func random(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rand.Uint32())
	}
	return b
}

// portRange finds room for pairs port pairs below the ports that the kernel
// gives to others.
func portRange(t testing.TB, pairs int) (low, high uint16) {
	t.Helper()
	for range 100 {
		low = uint16(10000+rand.IntN(20000)) &^ 1
		high = low + uint16(2*pairs) - 1
		if rangeIsFree(low, high) {
			return low, high
		}
	}
	t.Fatal("no free port range")
	return 0, 0
}

func rangeIsFree(low, high uint16) bool {
	for port := low; port <= high; port++ {
		c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(loopback, port)))
		if err != nil {
			return false
		}
		_ = c.Close()
	}
	return true
}
