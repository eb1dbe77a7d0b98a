package relay

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// callModel is what a call should do, beside a call that does it.
type callModel struct {
	*rapid.T
	call
	now    *clock
	phones [2][]*modelPhone // by side; the last is the peer, or to be
	taps   [2]*notes        // nil = no listener
	record *notes           // nil = none
	said   [2]*saying       // the last to each side
	heard  [2]int           // how many frames of it have been said
}

// modelPhone is a phone and what it should have got.
type modelPhone struct {
	*phone
	name      byte
	connected bool // it is the peer now
	sends     bool // Remote.Receive
	hears     bool // Remote.Send
	sequence  uint16
	want      []string // media of packets, in order; speech as one letter
	got       []string
	last      header
}

func TestWhateverACallGoesThroughItsStreamsStayWhole(t *testing.T) {
	withEachEngine(t, func(t *testing.T, kind string) {
		e, now := speaking(t, kind)
		var phones []*phone // sockets are used again: every packet is read before
		for i := range 8 {
			phones = append(phones, newPhone(t, fmt.Sprintf("127.0.0.%d", 2+i)))
		}
		rapid.Check(t, func(t *rapid.T) {
			s, err := e.Open()
			if err != nil {
				t.Fatal(err)
			}
			m := &callModel{T: t, call: call{s, phones[0], phones[1]}, now: now}
			next := 0
			arrive := func(side Side) {
				m.phones[side] = append(m.phones[side], &modelPhone{phone: phones[next], name: byte('0' + next), sequence: uint16(1000 * next)})
				next++
			}
			arrive(A)
			arrive(B)
			m.connectPeer(A)
			m.connectPeer(B)
			for range rapid.IntRange(1, 40).Draw(t, "steps") {
				side := Side(rapid.IntRange(0, 1).Draw(t, "side"))
				switch rapid.SampledFrom([]string{"connect", "packet", "packet", "packet", "play", "time", "time", "silence", "listen", "record", "old", "reseat"}).Draw(t, "does") {
				case "connect":
					m.connectPeer(side)
				case "packet":
					m.talk(side)
				case "play":
					m.play(side)
				case "time":
					m.pass(time.Duration(rapid.IntRange(0, 7).Draw(t, "ms")*10) * time.Millisecond)
				case "silence":
					m.Silence(side)
				case "listen":
					m.listen(side)
				case "record":
					m.tapBoth()
				case "old":
					m.late(side)
				case "reseat":
					if next < len(phones) {
						m.reseat(side)
						arrive(side)
						if rapid.Bool().Draw(t, "answers at once") {
							m.connectPeer(side)
						}
					}
				}
				m.gather()
			}
			m.Close()
			m.gather()
			m.nothingMore()
		})
	})
}

func (m *callModel) peer(side Side) *modelPhone { return m.phones[side][len(m.phones[side])-1] }

func (m *callModel) connectPeer(side Side) {
	p := m.peer(side)
	p.connected, p.hears, p.sends = true, rapid.IntRange(0, 3).Draw(m.T, "holds") > 0, rapid.IntRange(0, 3).Draw(m.T, "mute") > 0
	r := p.remote()
	r.Send, r.Receive = p.hears, p.sends
	if err := m.Connect(side, r); err != nil {
		m.Fatal(err)
	}
}

// counted is how many packets of a side were looked at.
func (m *callModel) counted(side Side) uint64 {
	st := m.Stats()[side]
	return st.PacketsIn + st.Strays + st.Malformed
}

// talk sends a packet of a side's peer.
func (m *callModel) talk(side Side) {
	p, other := m.peer(side), m.peer(side.Other())
	p.sequence++
	media := fmt.Sprintf("%c%d", p.name, p.sequence)
	before := m.counted(side)
	p.send(m.Local(side), packet(8, p.sequence, uint32(p.sequence)*160, 42, []byte(media)))
	eventually(m.a.t, func() bool { return m.counted(side) > before })
	forwarded := p.connected && p.sends && other.connected && other.hears && m.saying(side.Other()) == nil
	if forwarded {
		other.want = append(other.want, media)
	}
	if m.taps[side] != nil && p.connected {
		m.shown(m.taps[side], media)
	}
	if m.record != nil && forwarded {
		m.shown(m.record, media)
	}
}

// shown takes the one packet that a tap was shown.
func (m *callModel) shown(tap *notes, media string) {
	m.Helper()
	if list := tap.all(); len(list) != 1 || string(list[0].Media) != media {
		m.Fatalf("a tap was shown %v for %q", list, media)
	}
	tap.list = nil
}

func (m *callModel) listen(side Side) {
	m.taps[side] = nil
	if rapid.Bool().Draw(m.T, "taps") {
		m.taps[side] = &notes{}
		m.Listen(side, hearing{m.taps[side]})
		return
	}
	m.Listen(side, nil)
}

func (m *callModel) tapBoth() {
	m.record = nil
	if rapid.Bool().Draw(m.T, "taps") {
		m.record = &notes{}
		m.Record(m.record)
		return
	}
	m.Record(nil)
}

// saying is what is said to a side.
func (m *callModel) saying(side Side) *saying {
	n := &m.ends[side.Other()]
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.said
}

// progress is how far a speech is.
func (m *callModel) progress(v *saying) int {
	n := &m.ends[v.side.Other()]
	n.mu.Lock()
	defer n.mu.Unlock()
	return v.next / frameOctets
}

func (m *callModel) play(side Side) {
	letters := rapid.StringOfN(rapid.RuneFrom([]rune("abcdefgh")), 0, 5, -1).Draw(m.T, "speech")
	m.Play(side, Speech{Payload: 8, Audio: phrase(letters)})
	m.said[side], m.heard[side] = m.saying(side), 0 // nothing if it had no frame: that is over already
	m.pass(0)
}

// pass lets time pass, and what is due be said.
func (m *callModel) pass(d time.Duration) {
	m.now.advance(d)
	m.spoken()
	for side, v := range m.said {
		if v == nil {
			continue
		}
		done := m.progress(v)
		if p := m.peer(Side(side)); p.connected && p.hears {
			for _, letter := range letters(v)[m.heard[side]:done] {
				p.want = append(p.want, string(letter))
			}
		}
		m.heard[side] = done
	}
}

// letters are the frames of a phrase.
func letters(v *saying) (list []byte) {
	for i := 0; i < len(v.Audio); i += frameOctets {
		list = append(list, v.Audio[i])
	}
	return list
}

// late sends a packet of a phone that was replaced.
func (m *callModel) late(side Side) {
	if len(m.phones[side]) < 2 {
		return
	}
	before := m.counted(side)
	m.phones[side][0].send(m.Local(side), packet(8, 1, 1, 42, []byte("late")))
	eventually(m.a.t, func() bool { return m.counted(side) > before })
}

func (m *callModel) reseat(side Side) {
	before := m.Local(side)
	if err := m.call.reseat(side); err != nil {
		m.Fatal(err)
	}
	if m.Local(side) == before || m.saying(side) != nil {
		m.Fatal("it is still the old side")
	}
	m.peer(side).connected = false
}

// gather reads what every phone should have got.
func (m *callModel) gather() {
	m.Helper()
	for side := range m.phones {
		for _, p := range m.phones[side] {
			for len(p.got) < len(p.want) {
				h, media := m.read(p, 2*time.Second)
				if media == nil {
					m.Fatalf("phone %c got %q of %q and no more", p.name, p.got, p.want)
				}
				if len(media) == frameOctets {
					media = media[:1]
				}
				if n := len(p.got); n > 0 && (h.ssrc != p.last.ssrc || h.sequence != p.last.sequence+1 || int32(h.timestamp-p.last.timestamp) <= 0) {
					m.Fatalf("phone %c got %+v after %+v", p.name, h, p.last)
				}
				p.got, p.last = append(p.got, string(media)), h
			}
			if !slices.Equal(p.got, p.want) {
				m.Fatalf("phone %c got %q, want %q", p.name, p.got, p.want)
			}
		}
	}
}

// nothingMore fails when a phone got more than it should have.
func (m *callModel) nothingMore() {
	m.Helper()
	for side := range m.phones {
		for _, p := range m.phones[side] {
			if _, media := m.read(p, time.Millisecond); media != nil {
				m.Fatalf("phone %c got %q and %q", p.name, p.got, media)
			}
		}
	}
}

// read gives the next packet of a phone; nil when none came.
func (m *callModel) read(p *modelPhone, patience time.Duration) (header, []byte) {
	_ = p.rtp.SetReadDeadline(time.Now().Add(patience))
	size, _, err := p.rtp.ReadFromUDPAddrPort(p.buf)
	if err != nil {
		return header{}, nil
	}
	h, ok := parseHeader(p.buf[:size])
	if !ok {
		m.Fatalf("phone %c got %x", p.name, p.buf[:size])
	}
	return h, p.buf[h.start:h.end]
}
