package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
	"tandem/test/world"
)

func TestTsharkFindsNoFaultInWhatIsOnTheWire(t *testing.T) {
	for _, network := range []string{"udp", "tcp"} {
		t.Run(network, func(t *testing.T) {
			t.Parallel()
			s := newWire(t, network, sdp.Plain)
			s.capture()
			s.reach(s.b)
			s.call(s.a, s.b, alice)
			s.reach(s.a)
			s.call(s.b, s.a, bob)
			s.finish()
			s.check()
		})
	}
}

// wire is a server between two phones, and tshark that listens to all three.
type wire struct {
	t       *testing.T
	ctx     context.Context
	w       *world.World
	network string
	a, b    *phone.Phone
	called  chan *phone.Call
	media   [2]int // the server's ports
	tshark  *exec.Cmd
	sip     []string // what it has read of SIP; see understood
	file    string
}

func newWire(t *testing.T, network string, srtp sdp.Profile, edit ...func(*app.Options)) *wire {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	s := &wire{t: t, ctx: ctx, network: network, called: make(chan *phone.Call, 1), file: filepath.Join(t.TempDir(), "calls.pcapng")}
	s.media = ownPorts(t)
	var err error
	s.w, err = world.Start(world.Options{Environ: []string{fmt.Sprintf("TANDEM_MEDIA_PORTS=%d-%d", s.media[0], s.media[1])},
		Edit: func(o *app.Options) {
			for _, e := range edit {
				e(o)
			}
		}})
	s.must(err)
	t.Cleanup(func() {
		if err := s.w.Close(5 * time.Second); err != nil {
			t.Error(err)
		}
	})
	s.a, s.b = s.newPhone(srtp), s.newPhone(srtp)
	s.must(s.w.AddTrunk("carrier", map[string]any{"transport": network}))
	_, err = s.w.NewTenant("acme", "exclusive", virtual)
	s.must(err)
	_, err = s.w.Allocate("acme", virtual, []string{alice}, []string{bob}, nil)
	s.must(err)
	return s
}

// ownPorts gives a range of ports below those that the kernel hands out, of which
// other tests live: what tshark sees there is this server's. Who holds the port after
// its end has the range.
func ownPorts(t *testing.T) [2]int {
	t.Helper()
	for range 1000 {
		first := 24000 + 200*rand.IntN(40)
		claim, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: first + 199})
		if errors.Is(err, syscall.EADDRINUSE) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = claim.Close() }) // nothing was sent
		return [2]int{first, first + 197}
	}
	t.Fatal("all ranges of ports are in use")
	return [2]int{}
}

func (s *wire) newPhone(srtp sdp.Profile) *phone.Phone {
	s.t.Helper()
	// Debian 12's tshark knows no AEAD_AES_128_GCM: it looks for the tag at the end of
	// SRTCP, where that has the index.
	p, err := phone.New(phone.Options{Network: s.network, SRTP: srtp, Suite: sdp.CM80, IP: netip.MustParseAddr("127.0.0.1"), OnCall: world.HandTo(s.ctx, s.called)})
	s.must(err)
	s.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			s.t.Error(err)
		}
	})
	return p
}

func (s *wire) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *wire) reach(p *phone.Phone) {
	s.t.Helper()
	s.must(s.w.Do("", "PUT", "/v1/admin/trunks/carrier", map[string]any{"targets": []string{p.Addr().String()}}, nil))
	s.must(s.w.App.ReloadTrunks(s.ctx))
}

// capture starts tshark on all ports of this test and returns once it writes.
func (s *wire) capture() {
	s.t.Helper()
	filter := fmt.Sprintf("port %d or port %d or port %d or udp portrange %d-%d", s.w.SIP(s.network).Port(), s.a.Addr().Port(),
		s.b.Addr().Port(), s.media[0], s.media[1])
	said := &world.Log{}
	s.tshark = exec.CommandContext(s.ctx, "tshark", "-i", "lo", "-q", "-w", s.file, "-f", filter)
	s.tshark.Stdout, s.tshark.Stderr = said, said
	s.must(s.tshark.Start())
	s.t.Cleanup(func() {
		if s.tshark.ProcessState == nil {
			_ = s.tshark.Process.Kill()
			_ = s.tshark.Wait() // killed
		}
		if s.t.Failed() {
			s.t.Logf("tshark said:\n%s", said)
		}
	})
	s.seen("is-it-on")
}

// seen sends OPTIONS with a mark until the mark stands in the captured file.
func (s *wire) seen(mark string) {
	s.t.Helper()
	eventually(s.t, "tshark to capture (it needs to be root, or dumpcap CAP_NET_RAW)", func() bool {
		res, err := s.a.Ask(s.ctx, phone.Outside{Via: s.w.SIP(s.network),
			Request: phone.Request{Method: "OPTIONS", Headers: []phone.Header{{Name: "Subject", Value: mark}}}})
		s.must(err)
		if res.Status != 200 {
			s.t.Fatalf("OPTIONS got %d", res.Status)
		}
		captured, _ := os.ReadFile(s.file) // not there at first
		return bytes.Contains(captured, []byte(mark))
	})
}

// call places a call, lets both hear the other and RTCP, holds and resumes it,
// and hangs up.
func (s *wire) call(from, to *phone.Phone, number string) {
	s.t.Helper()
	a, err := from.Dial(s.ctx, phone.Invite{From: number, To: virtual, Via: s.w.SIP(s.network), Audio: phone.Sine(toneA, 8000)})
	s.must(err)
	var b *phone.Call
	select {
	case b = <-s.called:
	case <-s.ctx.Done():
		s.t.Fatal("nobody was called")
	}
	s.must(b.Ring(phone.Reply{}))
	s.must(b.Answer(phone.Reply{Audio: phone.Sine(toneB, 8000)}))
	s.must(a.Answered(s.ctx))
	s.must(a.HearsTone(s.ctx, toneB))
	s.must(b.HearsTone(s.ctx, toneA))
	s.must(a.Hold(s.ctx))
	s.must(a.Resume(s.ctx))
	eventually(s.t, "RTCP on both legs", func() bool { return hasRTCP(a) && hasRTCP(b) })
	s.must(b.Hangup(s.ctx))
	_, err = a.Ended(s.ctx)
	s.must(err)
	eventually(s.t, "nothing left of the call", func() bool { return s.w.App.Leftovers() == app.Leftovers{} })
}

// hasRTCP: RFC 3550 §6.4, a sender or receiver report.
func hasRTCP(c *phone.Call) bool {
	for _, m := range c.Raw() {
		if len(m) > 8 && m[0]&0xC0 == 0x80 && (m[1] == 200 || m[1] == 201) {
			return true
		}
	}
	return false
}

// finish ends the capture when everything up to now is in the file.
func (s *wire) finish() {
	s.t.Helper()
	s.seen("that-was-all")
	s.must(s.tshark.Process.Signal(os.Interrupt))
	s.must(s.tshark.Wait())
}

// check reads the file as tshark understands it.
func (s *wire) check() {
	s.t.Helper()
	s.wellFormed()
	from := fmt.Sprintf("%s.srcport == %d", s.network, s.w.SIP(s.network).Port())
	if s.network == "tcp" { // towards a callee the server speaks from a port of its own
		from = fmt.Sprintf("tcp.dstport in {%d, %d}", s.a.Addr().Port(), s.b.Addr().Port()) + " or " + from
	}
	media := fmt.Sprintf("udp.srcport in {%d..%d}", s.media[0], s.media[1])
	for what, want := range map[string]int{
		"sip.Method == INVITE and (" + from + ")":                 2,
		"sip.Method == ACK and (" + from + ")":                    2,
		"sip.Method == BYE and (" + from + ")":                    2,
		"sip.Status-Code == 180 and (" + from + ")":               2,
		"sip.CSeq.method == INVITE and sdp and (" + from + ")":    2 + 2 + 4, // two offers, two answers, four re-INVITEs answered
		"rtp and rtp.p_type == 8 or rtp.p_type == 0 and " + media: 200,
		"rtcp.pt == 200 and " + media:                             2,
		"rtcp.pt == 202 and " + media:                             2, // RFC 3550 §6.1: each report bears a CNAME
	} {
		if got := len(s.read(what)); got < want {
			s.t.Errorf("%d frames of %s, want at least %d", got, what, want)
		}
	}
	// tshark takes no offence at a header or line that it cannot read: it only shows less of it.
	for _, unread := range []string{
		"sip and (" + from + ") and not (sip.Via.branch and sip.from.addr and sip.from.tag and sip.to.addr and sip.Call-ID and sip.CSeq.seq)",
		"sip.Method == INVITE and (" + from + ") and not (sip.contact.uri and sip.Max-Forwards and sdp)",
		"sip.Status-Code == 200 and sip.CSeq.method == INVITE and (" + from + ") and not (sip.contact.uri and sip.to.tag and sdp)",
		"sdp and not (sdp.owner.sessionid and sdp.owner.address and sdp.time.start and sdp.connection_info.address and " +
			"sdp.media.port and sdp.media.proto and sdp.media.format and sdp.mime.type and sdp.sample_rate)",
	} {
		for _, line := range s.read(unread, "_ws.col.Info") {
			s.t.Errorf("parts are missing in frame %s", line)
		}
	}
}

// wellFormed fails on what tshark warns of, and on what it does not know.
func (s *wire) wellFormed() {
	s.t.Helper()
	const warning = "0x00600000" // severity of tshark's experts; errors are above
	// Of SRTCP it warns that it has no key.
	faults := "_ws.malformed or _ws.expert.severity >= " + warning + " and not srtcp"
	for _, line := range s.read(faults, "_ws.expert.message", "_ws.col.Info") {
		s.t.Errorf("frame %s", line)
	}
	if strange := s.read("udp and not sip and not rtp and not rtcp and not srtcp and not rtpevent and not icmp"); len(strange) > 0 {
		s.t.Errorf("%d datagrams are neither SIP nor RTP nor RTCP, e.g. frame %s", len(strange), strange[0])
	}
}

// read gives one line for each captured frame that a display filter lets pass.
func (s *wire) read(filter string, fields ...string) []string {
	s.t.Helper()
	var decode []string
	for _, port := range []uint16{s.w.SIP(s.network).Port(), s.a.Addr().Port(), s.b.Addr().Port()} {
		decode = append(decode, fmt.Sprintf("%s.port==%d,sip", s.network, port))
	}
	lines, err := tshark(s.ctx, s.file, decode, filter, fields...)
	s.must(err)
	return lines
}

// tshark gives one line for each frame of a file that a display filter lets pass: its
// number, and the fields. decode says what is spoken on which port.
func tshark(ctx context.Context, file string, decode []string, filter string, fields ...string) ([]string, error) {
	args := []string{"-r", file, "-Y", filter, "-T", "fields", "-e", "frame.number"}
	for _, d := range decode {
		args = append(args, "-d", d)
	}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "tshark", args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("tshark: %w\n%s", err, &stderr)
	}
	return strings.FieldsFunc(string(out), func(r rune) bool { return r == '\n' }), nil
}
