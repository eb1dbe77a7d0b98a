package phone

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/pion/rtcp"

	"tandem/internal/voice/sdp"
)

const (
	frame      = 20 * time.Millisecond
	perFrame   = Rate / 50 // samples
	rtcpEvery  = 250       // packets: 5 s (RFC 3550 §6.2)
	mostAtOnce = 10        // packets sent at once after a stall; what is more moves later
)

// A line is a pair of UDP ports for RTP (even) and RTCP (the next one, RFC 3550 §11).
type line struct {
	rtp, rtcp *net.UDPConn
	addr      netip.AddrPort // of rtp
}

// openLine binds a pair. The kernel chooses the first port; the other has to be
// free by luck, so it tries a few times.
func openLine(ip netip.Addr) (*line, error) {
	for range 100 {
		a, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, 0)))
		if err != nil {
			return nil, fmt.Errorf("phone: bind RTP: %w", err)
		}
		port := localOf(a).Port()
		b, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, port^1)))
		if err != nil {
			_ = a.Close()
			continue
		}
		if port%2 == 1 {
			a, b = b, a
		}
		return &line{rtp: a, rtcp: b, addr: localOf(a)}, nil
	}
	return nil, errors.New("phone: bind RTP: no two neighbouring ports are free")
}

func localOf(c *net.UDPConn) netip.AddrPort {
	a := c.LocalAddr().(*net.UDPAddr).AddrPort()
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}

func (l *line) close() { _, _ = l.rtp.Close(), l.rtcp.Close() }

// An agreement is what offer and answer say about sending.
type agreement struct {
	to     netip.AddrPort // RTP
	toRTCP netip.AddrPort
	format format
	events format // clock 0 if there are none
	send   bool
	mux    bool // RTCP goes and comes by the port of RTP

	protection *sdp.Protection // nil = plain RTP
}

// A voice is the media of one call: the line in use, and what is sent on it.
type voice struct {
	p   *Phone
	ear *ear
	log *record

	mu        sync.Mutex
	line      *line
	old       []*line // left behind, still heard: packets may be under way to them
	now       agreement
	guard     *guard
	source    Source
	said      chan struct{} // closed when source has ended or is replaced
	ended     bool          // it has ended
	keys      []*keying     // digits that are pressed, one after the other
	random    *mathrand.Rand
	stop      chan struct{} // closed by close; ends the sender
	started   bool
	closed    bool
	marker    bool
	sequence  uint16
	timestamp uint32
	ssrc      uint32
	cname     string
	packets   uint32
	octets    uint32
}

// newVoice opens a line and begins to read it.
func newVoice(p *Phone, log *record) (*voice, error) {
	var seed [22]byte
	_, _ = rand.Read(seed[:]) // never fails
	v := &voice{p: p, ear: newEar(), log: log, source: Silence(), said: make(chan struct{}), stop: make(chan struct{}),
		marker: true, sequence: binary.BigEndian.Uint16(seed[:]), timestamp: binary.BigEndian.Uint32(seed[2:]),
		ssrc: binary.BigEndian.Uint32(seed[6:]), cname: hex.EncodeToString(seed[10:]),
		random: mathrand.New(mathrand.NewPCG(p.o.Seed, 0))}
	for _, f := range known {
		if n, own := p.o.Numbers[f.name]; own {
			f.payload = n
			v.ear.learn(f)
		}
	}
	if err := v.open(); err != nil {
		return nil, err
	}
	return v, nil
}

// open moves the call to a new line.
func (v *voice) open() error {
	l, err := openLine(v.p.o.IP)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || !v.p.spawn(func() { v.read(l.rtp, true) }) || !v.p.spawn(func() { v.read(l.rtcp, false) }) {
		l.close()
		return errClosed
	}
	if v.line != nil {
		v.old = append(v.old, v.line)
	}
	v.line = l
	return nil
}

// addr is where we take RTP.
func (v *voice) addr() netip.AddrPort {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.line.addr
}

// say replaces the source. Who waits for the end of the one before waits for this one's.
func (v *voice) say(s Source) {
	if s == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if !v.ended {
		close(v.said)
	}
	v.source, v.said, v.ended = s, make(chan struct{}), false
}

// saying gives a channel that is closed when the source has ended or is replaced, and
// whether it has ended.
func (v *voice) saying() (<-chan struct{}, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.said, v.ended
}

// agree takes the result of an offer and an answer, and starts sending if it is
// the first one.
func (v *voice) agree(a agreement) {
	v.ear.expect(a.to)
	v.mu.Lock()
	defer v.mu.Unlock()
	if g, err := newGuard(a.protection, v.guard); err == nil { // sdp has looked at the keys
		v.guard = g
	}
	if a.send && !v.now.send {
		v.marker = true // a talkspurt begins (RFC 3551 §4.1)
	}
	v.now = a
	if v.guard != nil && !v.started {
		v.sequence &= 0x7FFF // room before the first wrap (RFC 3711 §3.3.1)
	}
	if !v.started && !v.closed {
		v.started = v.p.spawn(v.talk)
	}
}

// close ends sending and receiving. Calling it again does nothing.
func (v *voice) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	v.closed = true
	close(v.stop)
	v.line.close()
	for _, l := range v.old {
		l.close()
	}
}

// read takes what arrives on one socket until it is closed.
func (v *voice) read(c *net.UDPConn, media bool) {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := c.ReadFromUDPAddrPort(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error for something we sent
		}
		raw, ok := v.opened(append([]byte(nil), buf[:n]...), !media || isReport(buf[:n]))
		v.log.received(raw)
		if !ok {
			continue
		}
		if p, ok := parsePacket(raw); media && ok && !isReport(raw) {
			v.ear.take(netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), p)
		}
	}
}

// opened is raw without its protection; as it came, and false, if our key did not
// protect it.
func (v *voice) opened(raw []byte, report bool) ([]byte, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	plain, err := v.guard.open(raw, report)
	if err != nil {
		return raw, false
	}
	return plain, true
}

// paced is how long 20 ms take by a clock that runs so many ppm fast.
func paced(drift float64) time.Duration { return time.Duration(float64(frame) / (1 + drift/1e6)) }

// talk sends a packet every 20 ms of its own clock, until close. It counts from its
// start, so that a late tick is made up for.
func (v *voice) talk() {
	interval := paced(v.p.o.Drift)
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	start, sent := time.Now(), 0
	for {
		select {
		case <-v.stop:
			return
		case <-ticker.C:
		}
		due := int(time.Since(start) / interval)
		if late := due - sent - mostAtOnce; late > 0 {
			start, due = start.Add(time.Duration(late)*interval), due-late
		}
		for ; sent < due; sent++ {
			v.frame()
		}
	}
}

// frame sends one packet, or lets its time pass while we are to be silent.
func (v *voice) frame() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return
	}
	step := uint32(v.now.format.clock / 50)
	if !v.now.send {
		v.timestamp += step
		return
	}
	p := packet{payload: v.now.format.payload, sequence: v.sequence, timestamp: v.timestamp, ssrc: v.ssrc, extension: v.p.o.Extension}
	copies, pressed := v.event(&p)
	if !pressed {
		p.marker, v.marker = v.marker, false
		p.body = encode(v.now.format.name, v.speech())
	}
	v.sequence++
	v.timestamp += step
	raw, err := v.guard.seal(p.marshal(nil), false)
	for ; err == nil && copies > 0; copies-- {
		v.send(raw)
	}
	if v.packets%rtcpEvery == 0 {
		v.report()
	}
	v.packets++
	v.octets += uint32(len(p.body))
}

// speech is the next 20 ms of what we say. The caller holds v.mu.
func (v *voice) speech() []int16 {
	var pcm [perFrame]int16
	if n := v.source.Read(pcm[:]); n < len(pcm) {
		clear(pcm[n:])
		v.source, v.ended = Silence(), true
		close(v.said)
	}
	v.mix(pcm[:])
	return pcm[:]
}

// send gives a packet to the network, which does with it what the options say. The
// caller holds v.mu.
func (v *voice) send(raw []byte) {
	if v.p.o.Lose != nil && v.p.o.Lose(raw) {
		return
	}
	from, to := v.line.rtp, v.now.to
	if v.p.o.Jitter <= 0 {
		_, _ = from.WriteToUDPAddrPort(raw, to) // lost like any packet
		return
	}
	delay := time.Duration(v.random.Int64N(int64(v.p.o.Jitter) + 1))
	v.p.spawn(func() {
		late := time.NewTimer(delay)
		defer late.Stop()
		select {
		case <-late.C:
			_, _ = from.WriteToUDPAddrPort(raw, to)
		case <-v.stop:
		}
	})
}

// report sends a sender report and our CNAME (RFC 3550 §6.4.1, §6.5.1), and what the
// options add. The caller holds v.mu.
func (v *voice) report() {
	if !v.now.toRTCP.IsValid() {
		return
	}
	const ntp = 2208988800 // seconds from 1900 to 1970
	now := time.Now()
	raw, err := rtcp.Marshal([]rtcp.Packet{
		&rtcp.SenderReport{SSRC: v.ssrc, RTPTime: v.timestamp, PacketCount: v.packets, OctetCount: v.octets,
			NTPTime: uint64(now.Unix()+ntp)<<32 | uint64(now.Nanosecond())<<32/1e9},
		rtcp.NewCNAMESourceDescription(v.ssrc, v.cname),
	})
	if err != nil {
		return // cannot happen: every field is ours and in bounds
	}
	socket := v.line.rtcp
	if v.now.mux {
		socket = v.line.rtp
	}
	for _, b := range [][]byte{raw, v.p.o.RTCP} {
		if len(b) == 0 {
			continue
		}
		if b, err = v.guard.seal(b, true); err == nil {
			_, _ = socket.WriteToUDPAddrPort(b, v.now.toRTCP)
		}
	}
}
