package app

import (
	"encoding/binary"
	"net"
	"net/netip"
	"testing"
	"time"

	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/relay"
)

// A phone may renumber its telephone-events by a re-INVITE while it is asked for a
// PIN; it is heard all the same.
func TestKeysAreHeardUnderTheNumberThatASideHasNow(t *testing.T) {
	engine, err := relay.New(relay.Options{IP: netip.MustParseAddr("127.0.0.1")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	s, err := media{engine: engine}.Open()
	if err != nil {
		t.Fatal(err)
	}
	phone, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = phone.Close() })
	at := phone.LocalAddr().(*net.UDPAddr).AddrPort()
	keys := make(chan byte, 8)
	connect := func(events uint8) {
		t.Helper()
		if err := s.Connect(b2bua.A, b2bua.Stream{RTP: at, Events: events, Voice: 0xFF, Send: true, Receive: true}); err != nil {
			t.Fatal(err)
		}
	}
	press := func(payload, code byte) {
		t.Helper()
		b := append([]byte{0x80, payload, 0, code}, make([]byte, 12)...)
		binary.BigEndian.PutUint32(b[4:], 1000*uint32(code))
		b[12], b[13], b[15] = code, 0x8a, 160
		if _, err := phone.WriteToUDPAddrPort(b, s.Local(b2bua.A)); err != nil {
			t.Fatal(err)
		}
	}
	expect := func(want byte) {
		t.Helper()
		select {
		case got := <-keys:
			if got != want {
				t.Errorf("heard %q, want %q", got, want)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%q is not heard", want)
		}
	}
	connect(101)
	s.Listen(b2bua.A, func(digit byte) { keys <- digit })
	press(101, 4)
	expect('4')
	connect(96)
	press(96, 8)
	expect('8')
	s.Close()
}
