package phone_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
)

func TestEverySampleArrivesWhereItBelongs(t *testing.T) {
	t.Parallel()
	for _, codec := range []string{"PCMA", "PCMU", "opus"} {
		t.Run(codec, func(t *testing.T) {
			p := newPair(t, "udp")
			said := phone.Noise(1, 4000)
			a, b := p.talk(t, phone.Invite{Audio: phone.Samples(said), Codecs: []string{codec}}, phone.Reply{Codecs: []string{codec}})
			must(t, a.Said(soon(t)))
			want := phone.Through(codec, said)
			must(t, b.Hears(soon(t), len(want)))
			if got := b.Heard()[:len(want)]; !slices.Equal(got, want) {
				t.Error("B heard something else")
			}
		})
	}
}

func TestLostPacketsAreHeardAsSilenceInTheirPlace(t *testing.T) {
	t.Parallel()
	var n atomic.Int32
	p := newPair(t, "udp", func(a, _ *phone.Options) {
		a.Lose = func([]byte) bool { n := n.Add(1); return n == 3 || n == 4 || n == 10 }
	})
	said := phone.Noise(2, 3200)
	_, b := p.talk(t, phone.Invite{Audio: phone.Samples(said)}, phone.Reply{})
	want := phone.Through("PCMA", said)
	clear(want[2*160 : 4*160])
	clear(want[9*160 : 10*160])
	must(t, b.Hears(soon(t), len(want)))
	if got := b.Heard()[:len(want)]; !slices.Equal(got, want) {
		t.Error("B heard something else")
	}
	if h := b.Hearing(); h.Lost != 3 || h.Strays != 0 || h.Streams != 1 {
		t.Errorf("counted %+v", h)
	}
}

func TestOnHoldTheOtherSideIsSilentAndThenGoesOnWhereItStopped(t *testing.T) {
	onBoth(t, func(t *testing.T, network string) {
		p := newPair(t, network)
		said := phone.Noise(3, 4000)
		a, b := p.talk(t, phone.Invite{Audio: phone.Sine(440, 9000)}, phone.Reply{Audio: phone.Samples(said)})
		must(t, a.Hears(soon(t), 800))
		must(t, a.Hold(soon(t)))
		held := a.Hearing().Packets
		must(t, b.Hears(soon(t), len(b.Heard())+4000)) // A goes on: half a second passes
		if n := a.Hearing().Packets; n > held+1 {      // one may have been under way
			t.Errorf("%d packets from a side that was to be silent", n-held)
		}
		must(t, a.Resume(soon(t)))
		must(t, b.Said(soon(t)))
		must(t, a.Hears(soon(t), len(said)+4000))
		heard, want := a.Heard(), phone.Through("PCMA", said)
		for gap := held - 2; ; gap++ { // where the pause begins
			if gap > held+2 {
				t.Fatal("what was heard before and after the hold is not what was said")
			}
			rest := slices.Index(heard[gap*160:], want[gap*160]) // the pause is zeros, the noise never begins with one
			if slices.Equal(heard[:gap*160], want[:gap*160]) && rest >= 0 &&
				bytes.Contains(octets(heard[gap*160:]), octets(want[gap*160:])) {
				break
			}
		}
	})
}

func octets(pcm []int16) []byte {
	var b []byte
	for _, s := range pcm {
		b = binary.LittleEndian.AppendUint16(b, uint16(s))
	}
	return b
}

func TestBothOnHoldThenResumedTalkAgain(t *testing.T) {
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{Audio: phone.Sine(440, 9000)}, phone.Reply{Audio: phone.Sine(880, 9000)})
	must(t, a.Hold(soon(t)))
	must(t, b.Reinvite(soon(t), phone.Offer{Direction: sdp.Inactive}))
	must(t, a.Resume(soon(t)))
	must(t, b.Resume(soon(t)))
	must(t, a.HearsTone(soon(t), 880))
	must(t, b.HearsTone(soon(t), 440))
}

func TestMediaCanMoveToOtherPortsAndAnotherCodecDuringTheCall(t *testing.T) {
	for name, o := range map[string]phone.Offer{
		"port by re-INVITE":  {NewPort: true},
		"port by UPDATE":     {NewPort: true, Update: true},
		"codec by re-INVITE": {Codecs: []string{"PCMU"}},
		"codec by UPDATE":    {Codecs: []string{"PCMU"}, Update: true},
		"delayed offer":      {NoOffer: true},
		"refresh by UPDATE":  {NoOffer: true, Update: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := newPair(t, "udp")
			saidA, saidB := phone.Noise(4, 8000), phone.Noise(5, 8000)
			a, b := p.talk(t, phone.Invite{Audio: phone.Samples(saidA)}, phone.Reply{Audio: phone.Samples(saidB)})
			must(t, a.Hears(soon(t), 1600))
			must(t, a.Reinvite(soon(t), o))
			must(t, a.Hears(soon(t), 8000))
			must(t, b.Hears(soon(t), 8000))
			for who, c := range map[string]*phone.Call{"A": a, "B": b} {
				said := saidB
				if who == "B" {
					said = saidA
				}
				law, mu, heard := phone.Through("PCMA", said), phone.Through("PCMU", said), c.Heard()
				for i := range said {
					if heard[i] != law[i] && heard[i] != mu[i] {
						t.Fatalf("%s heard something else at sample %d", who, i)
					}
				}
				if last := heard[7999] == mu[7999] && !slices.Equal(heard[7840:8000], law[7840:]); last != (o.Codecs != nil) {
					t.Errorf("%s: PCMU at the end is %v", who, last)
				}
			}
		})
	}
}

func TestAnInviteWithoutOfferIsAnsweredWithOne(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.talk(t, phone.Invite{NoOffer: true, Audio: phone.Sine(440, 9000)}, phone.Reply{Audio: phone.Sine(880, 9000)})
	must(t, a.HearsTone(soon(t), 880))
	must(t, b.HearsTone(soon(t), 440))
}

func TestAnOfferWithoutACodecOfOursIsRefusedWith488(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, b := p.dial(t, phone.Invite{Codecs: []string{"G729"}})
	if err := b.Answer(phone.Reply{}); err == nil {
		t.Error("answered")
	}
	if e := ended(t, a); e.Status != 488 {
		t.Errorf("end: %+v", e)
	}
	a, _ = p.talk(t, phone.Invite{}, phone.Reply{})
	var status *phone.StatusError
	if err := a.Reinvite(soon(t), phone.Offer{Codecs: []string{"opus"}}); !errors.As(err, &status) || status.Code != 488 {
		t.Errorf("re-INVITE: %v", err)
	}
	must(t, a.Reinvite(soon(t), phone.Offer{})) // as it was before
	if _, err := p.a.Dial(soon(t), phone.Invite{Via: p.b.Addr(), Codecs: []string{"tin can"}}); err == nil {
		t.Error("dialled with an unknown codec")
	}
}

func TestTwoOffersAtOnceGet491(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	x.says(in, 200, "peer", x.contact(), pcma(9))
	next(t, x.acks)
	must(t, c.Answered(soon(t)))
	result := make(chan error, 1)
	go func() { result <- c.Hold(soon(t)) }()
	ours := x.expect("INVITE")
	from, _ := in.req.From().Params.Get("tag")
	caller := in.tx.Source()
	theirs := x.final(x.ask(x.request("INVITE", caller, in.req.CallID().Value(), 1, from, pcma(11)), caller))
	if theirs.StatusCode != 491 {
		t.Errorf("theirs: %d", theirs.StatusCode)
	}
	x.says(ours, 491, "")
	var status *phone.StatusError
	if err := next(t, result); !errors.As(err, &status) || status.Code != 491 {
		t.Errorf("ours: %v", err)
	}
}

func TestARefusedDialogEndsTheCall(t *testing.T) {
	c, x, in := dialPeer(t, phone.Invite{}, phone.Options{})
	x.says(in, 200, "peer", x.contact(), pcma(9))
	next(t, x.acks)
	must(t, c.Answered(soon(t)))
	result := make(chan error, 1)
	go func() { result <- c.Hold(soon(t)) }()
	x.says(x.expect("INVITE"), 481, "")
	x.says(x.expect("BYE"), 481, "")
	if next(t, result) == nil || ended(t, c).Err == nil {
		t.Error("no error")
	}
}

func TestPacketsOfStrangersAreKeptButNotHeard(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	a, _ := p.talk(t, phone.Invite{}, phone.Reply{Audio: phone.Sine(880, 9000)})
	stranger, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(mediaOf(t, a)))
	must(t, err)
	defer stranger.Close()
	secret := append([]byte{0x80, 8, 0, 1, 0, 0, 0, 1, 9, 9, 9, 9}, bytes.Repeat([]byte{0x34}, 160)...)
	_, err = stranger.Write(secret)
	must(t, err)
	must(t, a.HearsTone(soon(t), 880))
	if h := a.Hearing(); h.Strays != 1 || h.Streams != 1 {
		t.Errorf("counted %+v", h)
	}
	if !slices.ContainsFunc(a.Raw(), func(b []byte) bool { return bytes.Equal(b, secret) }) {
		t.Error("not among what was received")
	}
}

// mediaOf is where the description that c sent wants RTP.
func mediaOf(t *testing.T, c *phone.Call) netip.AddrPort {
	t.Helper()
	for _, s := range c.Ladder() {
		if _, body, _ := bytes.Cut(s.Raw, []byte("\r\n\r\n")); s.Out && len(body) > 0 {
			d, err := sdp.Parse(body)
			must(t, err)
			m, _ := d.Audio()
			return m.Addr
		}
	}
	t.Fatal("no description sent")
	return netip.AddrPort{}
}

func TestRTPPortsAreEvenAndRTCPIsReceived(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp", func(a, _ *phone.Options) { a.RTCP = []byte{0x80, 201, 0, 1, 1, 2, 3, 4} })
	a, b := p.talk(t, phone.Invite{}, phone.Reply{})
	must(t, b.Hears(soon(t), 1600))
	if port := mediaOf(t, a).Port(); port%2 != 0 {
		t.Errorf("RTP at port %d", port)
	}
	var reports, extra int
	for _, raw := range b.Raw() {
		switch {
		case len(raw) > 1 && raw[1] == 200:
			reports++
		case bytes.Equal(raw, []byte{0x80, 201, 0, 1, 1, 2, 3, 4}):
			extra++
		}
	}
	if reports != 1 || extra != 1 {
		t.Errorf("%d sender reports, %d of the owner's", reports, extra)
	}
}

func TestRTPIsNumberedAndTimedAsRFC3550Asks(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp", func(a, _ *phone.Options) { a.Extension = []byte("abcde") })
	_, b := p.talk(t, phone.Invite{}, phone.Reply{})
	must(t, b.Hears(soon(t), 3200))
	var last []byte
	for _, raw := range b.Raw() {
		if len(raw) != 12+4+8+160 || raw[1]&0x7f != 8 {
			continue
		}
		if string(raw[16:24]) != "abcde\x00\x00\x00" || raw[0] != 0x90 {
			t.Errorf("extension: % x", raw[:24])
		}
		if marker := raw[1] >= 0x80; marker != (last == nil) {
			t.Errorf("marker is %v, first is %v", marker, last == nil)
		}
		if last != nil {
			sequence := binary.BigEndian.Uint16(raw[2:]) - binary.BigEndian.Uint16(last[2:])
			timestamp := binary.BigEndian.Uint32(raw[4:]) - binary.BigEndian.Uint32(last[4:])
			if sequence != 1 || timestamp != 160 || !bytes.Equal(raw[8:12], last[8:12]) {
				t.Errorf("step of %d numbers, %d timestamps", sequence, timestamp)
			}
		}
		last = raw
	}
	if last == nil {
		t.Error("no packets with an extension")
	}
}

func TestTheOwnersLinesStandWhereSDPWantsThem(t *testing.T) {
	t.Parallel()
	p := newPair(t, "udp")
	lines := []string{"o=me 1 2 IN IP4 127.0.0.1", "s=us", "i=it", "e=me@x", "a=x-y:z"}
	a, b := p.dial(t, phone.Invite{SDPLines: lines})
	must(t, b.Answer(phone.Reply{SDPLines: lines}))
	must(t, a.Answered(soon(t)))
	for who, c := range map[string]*phone.Call{"offer": a, "answer": b} {
		for _, s := range c.Ladder() {
			_, body, _ := strings.Cut(string(s.Raw), "\r\n\r\n")
			if !s.Out || body == "" {
				continue
			}
			if !strings.HasPrefix(body, "v=0\r\no=me 1 2 IN IP4 127.0.0.1\r\ns=us\r\ni=it\r\ne=me@x\r\nc=") || !strings.HasSuffix(body, "\r\na=x-y:z\r\n") {
				t.Errorf("%s:\n%s", who, body)
			}
		}
	}
}
