package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/testkit"
	"tandem/internal/voice/phone"
	"tandem/test/world"
)

// The people of these tests and the tones they say.
const (
	alice   = "+919912345601"
	bob     = "+918867676702"
	virtual = "+914000000001"
	toneA   = 440.0
	toneB   = 1000.0
)

func TestBaresipCallsBaresipBothWaysAndEachSeesOnlyTheVirtualNumber(t *testing.T) {
	for _, codec := range []codec{{"PCMU", 8000, 1}, {"PCMA", 8000, 1}, {"G722", 16000, 1}, {"opus", 48000, 2}} {
		t.Run(codec.name, func(t *testing.T) {
			p := newPair(t, codec, codec)
			p.reach(p.b)
			shown := p.talk(p.a, p.b, "sip:"+virtual+"@"+p.w.SIP("udp").String())
			p.hangUp(p.b, p.a)
			p.wait("one record", func() bool { return p.causes()["callee_hung_up"] == 1 })

			p.reach(p.a)
			p.talk(p.b, p.a, shown) // B calls back what his phone has shown
			p.hangUp(p.b, p.a)
			p.wait("two records", func() bool { return p.causes()["caller_hung_up"] == 1 })
			if got := p.causes(); len(got) != 2 {
				t.Errorf("causes of two calls: %v", got)
			}
			p.hidden()
		})
	}
}

// After a hold this baresip writes no more of what it hears to its file, with or
// without Tandem; digits, which are RTP like speech, show that the way is open.
func TestBaresipSendsDigitsAlsoAfterAHoldByEitherSide(t *testing.T) {
	pcmu := codec{"PCMU", 8000, 1}
	p := newPair(t, pcmu, pcmu)
	p.reach(p.b)
	p.talk(p.a, p.b, "sip:"+virtual+"@"+p.w.SIP("udp").String())
	p.digit(p.a, p.b, "1")
	p.digit(p.b, p.a, "2")
	for _, side := range [][2]*baresip{{p.a, p.b}, {p.b, p.a}} {
		for _, order := range []string{"hold", "resume"} {
			side[0].command(order, "")
			side[1].await("CALL_REMOTE_SDP") // the offer that is carried to it
			side[0].await("CALL_REMOTE_SDP") // the answer to its own
		}
		p.digit(p.a, p.b, "7")
		p.digit(p.b, p.a, "#")
	}
	p.hangUp(p.a, p.b)
	p.hidden()
}

// digit types a digit at one side and waits for it at the other.
func (p *pair) digit(from, to *baresip, key string) {
	p.t.Helper()
	from.command("sndcode", key)
	if got := to.await("CALL_DTMF_START").Param; got != key {
		p.t.Errorf("%s typed %s and %s heard %q", from.name, key, to.name, got)
	}
	to.await("CALL_DTMF_END")
}

func TestBaresipLetsItRingDeclinesAndCancels(t *testing.T) {
	pcmu := codec{"PCMU", 8000, 1}
	p := newPair(t, pcmu, pcmu)
	p.reach(p.b)
	p.b.command("answermode", "manual")
	to := "sip:" + virtual + "@" + p.w.SIP("udp").String()

	p.a.command("dial", to)
	p.b.await("CALL_INCOMING")
	p.a.await("CALL_RINGING")
	p.hangUp(p.a, p.b)
	p.wait("a cancelled call", func() bool { return p.causes()["caller_cancelled"] == 1 })

	p.a.command("dial", to)
	p.b.await("CALL_INCOMING")
	p.a.await("CALL_RINGING")
	p.b.command("hangup", "")
	if closed := p.a.await("CALL_CLOSED"); !strings.HasPrefix(closed.Param, "486 ") {
		t.Errorf("the caller of a busy phone was told %q", closed.Param)
	}
	p.wait("a busy callee", func() bool { return p.causes()["busy"] == 1 })
	p.hidden()
}

func TestPartiesWithoutACommonCodecAreToldSoAtOnce(t *testing.T) {
	p := newPair(t, codec{"PCMU", 8000, 1}, codec{"opus", 48000, 2})
	p.reach(p.b)
	p.a.command("dial", "sip:"+virtual+"@"+p.w.SIP("udp").String())
	if closed := p.a.await("CALL_CLOSED"); !strings.HasPrefix(closed.Param, "4") {
		t.Errorf("the caller was told %q", closed.Param)
	}
	if c := theRecord(t, p.w); len(c.Legs) != 1 || c.Legs[0].SIPStatus != 488 {
		t.Errorf("record %+v", c)
	}
	p.hidden()
}

// codec is what a baresip speaks, by the name that baresip gives it.
type codec struct {
	name     string
	rate     int // of its audio, in Hz
	channels int
}

// pair is a server between two baresips, which stand for A and B and for their
// carriers too: Tandem has one trunk, which leads to the one who is to be called.
type pair struct {
	t    *testing.T
	w    *world.World
	a, b *baresip
}

// newPair starts them with what their accounts say of SRTP (mediaenc), if anything.
func newPair(t *testing.T, a, b codec, mediaenc ...string) *pair {
	t.Helper()
	w, err := world.Start(world.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(5 * time.Second); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("the server's log of calls:\n%s", w.Log.Lines(`"call"`))
		}
	})
	mediaenc = append(mediaenc, "", "")
	p := &pair{t: t, w: w, a: startBaresip(t, "A", alice, toneA, a, mediaenc[0]), b: startBaresip(t, "B", bob, toneB, b, mediaenc[1])}
	if err := w.AddTrunk("carrier", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.NewTenant("acme", "exclusive", virtual); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Allocate("acme", virtual, []string{alice}, []string{bob}, nil); err != nil {
		t.Fatal(err)
	}
	return p
}

// reach points the trunk at the one who is to be called.
func (p *pair) reach(callee *baresip) {
	p.t.Helper()
	if err := p.w.Do("", "PUT", "/v1/admin/trunks/carrier", map[string]any{"targets": []string{callee.sip}}, nil); err != nil {
		p.t.Fatal(err)
	}
	if err := p.w.App.ReloadTrunks(context.Background()); err != nil {
		p.t.Fatal(err)
	}
}

// talk places a call and lets both hear each other; it gives what the callee's
// phone has shown as caller.
func (p *pair) talk(caller, callee *baresip, uri string) (shown string) {
	p.t.Helper()
	caller.command("dial", uri)
	caller.await("CALL_ESTABLISHED")
	shown = callee.await("CALL_ESTABLISHED").Peer
	if want := "sip:" + virtual + "@" + p.w.SIP("udp").String(); shown != want {
		p.t.Errorf("%s was shown %s", callee.name, shown)
	}
	p.a.hears(toneB)
	p.b.hears(toneA)
	return shown
}

// hangUp ends the call from one side and waits until the other has noticed and
// the server has nothing left of it.
func (p *pair) hangUp(first, other *baresip) {
	p.t.Helper()
	first.command("hangup", "")
	first.await("CALL_CLOSED")
	other.await("CALL_CLOSED")
	p.wait("nothing left of the call", func() bool { return p.w.App.Leftovers() == app.Leftovers{} })
}

// causes counts the call records by cause.
func (p *pair) causes() map[string]int {
	p.t.Helper()
	calls, err := p.w.Calls("acme")
	if err != nil {
		p.t.Fatal(err)
	}
	causes := map[string]int{}
	for _, c := range calls {
		causes[c.Cause]++
	}
	return causes
}

// hidden looks for either number in all that the other one's phone has sent and
// received, as it traced it itself.
func (p *pair) hidden() {
	p.t.Helper()
	if !strings.Contains(p.a.out.String(), "INVITE sip:"+virtual+"@") || !strings.Contains(p.b.out.String(), "INVITE sip:"+bob+"@") {
		p.t.Error("the phones do not trace their SIP")
	}
	testkit.AssertNoLeak(p.t, testkit.NewLeakDetector(alice), "the SIP trace of B", []byte(p.b.out.String()))
	testkit.AssertNoLeak(p.t, testkit.NewLeakDetector(bob), "the SIP trace of A", []byte(p.a.out.String()))
}

func (p *pair) wait(what string, holds func() bool) {
	p.t.Helper()
	eventually(p.t, what, holds)
}

// eventually waits until something holds that no event tells of.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// baresip is a running baresip. It says a tone from a file and writes what it
// hears to another.
type baresip struct {
	t      *testing.T
	name   string
	sip    string     // its SIP address
	out    *world.Log // what it prints, the trace of its SIP included
	sounds string     // folder of what it hears
	codec  codec
	before map[string]int64 // sounds that were checked already, by size
	conn   net.Conn
	events chan event
}

// event is what baresip tells of a call.
type event struct {
	Type  string `json:"type"`
	Peer  string `json:"peeruri"`
	Param string `json:"param"`
}

func startBaresip(t *testing.T, name, number string, tone float64, c codec, mediaenc string) *baresip {
	t.Helper()
	dir := t.TempDir()
	sip := world.FourFreePorts(t) // the next one is for TLS
	control := sip + 2
	b := &baresip{t: t, name: name, sip: fmt.Sprintf("127.0.0.1:%d", sip), out: &world.Log{}, sounds: filepath.Join(dir, "heard"),
		codec: c, before: map[string]int64{}, events: make(chan event, 256)}
	if err := os.Mkdir(b.sounds, 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "say.wav"), toneFile(t, tone, c))
	write(t, filepath.Join(dir, "contacts"), nil)
	account := fmt.Sprintf("<sip:%s@%s>;regint=0;answermode=auto;audio_codecs=%s/%d/%d", number, b.sip, c.name, c.rate, c.channels)
	if mediaenc != "" {
		account += ";mediaenc=" + mediaenc
	}
	write(t, filepath.Join(dir, "accounts"), []byte(account+"\n"))
	write(t, filepath.Join(dir, "config"), fmt.Appendf(nil, baresipConfig, b.sip, control, dir, b.sounds))
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "baresip", "-4", "-s", "-f", dir)
	cmd.Stdout, cmd.Stderr = b.out, b.out
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	reading, ended := make(chan struct{}), make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cancel()
		how := <-ended // killed, unless something is wrong
		if b.conn != nil {
			_ = b.conn.Close()
			<-reading
		}
		if t.Failed() {
			t.Logf("%s has ended (%v) and printed:\n%.12000s", name, how, b.out)
		}
	})
	eventually(t, "baresip's control port", func() bool {
		var err error
		b.conn, err = net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", control))
		return err == nil
	})
	go func() { defer close(reading); b.read() }()
	return b
}

// baresipConfig: no sound device and nothing of a desktop. A filter writes what
// is heard, since this version has no player that writes a file; the player takes
// it and gives it to nobody.
const baresipConfig = `sip_listen %s
net_interface 127.0.0.1
ctrl_tcp_listen 127.0.0.1:%d
module_path /usr/lib/baresip/modules
audio_path /nonexistent
module g711.so
module g722.so
module opus.so
module aufile.so
module aubridge.so
module sndfile.so
module srtp.so
module_app account.so
module_app menu.so
module_app ctrl_tcp.so
audio_source aufile,%s/say.wav
audio_player aubridge,ear
audio_alert aubridge,bell
snd_path %s
rtp_ports 10000-19999
`

// command gives baresip an order.
func (b *baresip) command(name, params string) {
	b.t.Helper()
	order, err := json.Marshal(map[string]string{"command": name, "params": params})
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := fmt.Fprintf(b.conn, "%d:%s,", len(order), order); err != nil {
		b.t.Fatalf("%s does not take orders: %v", b.name, err)
	}
}

// await waits for the next event of a type and drops those before it.
func (b *baresip) await(typ string) event {
	b.t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case e, ok := <-b.events:
			if !ok {
				b.t.Fatalf("%s has ended before %s", b.name, typ)
			}
			if e.Type == typ {
				return e
			}
		case <-deadline:
			b.t.Fatalf("%s tells nothing of %s", b.name, typ)
		}
	}
}

// read takes baresip's netstrings, which hold events and answers to commands.
func (b *baresip) read() {
	defer close(b.events)
	r := bufio.NewReader(b.conn)
	for {
		length, err := r.ReadString(':')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(length, ":"))
		if err != nil || n > 1<<20 {
			return
		}
		text := make([]byte, n+1) // with the closing comma
		if _, err := io.ReadFull(r, text); err != nil {
			return
		}
		var e event
		if json.Unmarshal(text[:n], &e) == nil && e.Type != "" {
			select {
			case b.events <- e:
			default: // nobody is waiting for this many
			}
		}
	}
}

// hears waits until two more seconds have been heard, and fails unless the
// second of them is a tone of hz.
func (b *baresip) hears(hz float64) {
	b.t.Helper()
	second := int64(2 * b.codec.rate * b.codec.channels)
	var newest string
	eventually(b.t, b.name+" to hear something", func() bool {
		newest = b.newest()
		return size(newest) > max(b.before[newest], wavHeader)+2*second
	})
	whole, err := os.ReadFile(newest)
	if err != nil {
		b.t.Fatal(err)
	}
	b.before[newest] = int64(len(whole))
	heard, err := phone.ReadWAV(bytes.NewReader(asWAV(whole[len(whole)-int(second):], b.codec)))
	if err != nil {
		b.t.Fatal(err)
	}
	if got := phone.Tone(heard, hz); got < 0.9 {
		b.t.Errorf("%s hears %.2f of a tone of %.0f Hz in %s; files %v", b.name, got, hz, filepath.Base(newest),
			slices.Sorted(maps.Keys(b.before)))
	}
}

// newest is the file of what is heard in the present call; "" = nothing yet.
func (b *baresip) newest() string {
	found, err := filepath.Glob(filepath.Join(b.sounds, "*-dec.wav"))
	if err != nil || len(found) == 0 {
		return ""
	}
	return slices.Max(found) // its name is the time at which it begins
}

// wavHeader is the size of what precedes the samples.
const wavHeader = 44

// heard counts the samples heard in the present call. They come while somebody
// speaks and only then.
func (b *baresip) heard() int {
	return int(max(size(b.newest())-wavHeader, 0)) / 2 / b.codec.channels
}

// forget leaves what has been heard so far out of hears.
func (b *baresip) forget() {
	newest := b.newest()
	b.before[newest] = size(newest)
}

func size(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// toneFile is a minute of a tone as a WAV file for a codec.
func toneFile(t *testing.T, hz float64, c codec) []byte {
	t.Helper()
	pcm := make([]int16, 60*c.rate)
	phone.Sine(hz*phone.Rate/float64(c.rate), 8000).Read(pcm)
	var data bytes.Buffer
	for _, s := range pcm {
		for range c.channels {
			_ = binary.Write(&data, binary.LittleEndian, s) // never fails
		}
	}
	return asWAV(data.Bytes(), c)
}

// asWAV puts a header before 16-bit samples. baresip writes its own only when a
// call ends.
func asWAV(data []byte, c codec) []byte {
	frame := 2 * c.channels
	header := []any{[]byte("RIFF"), uint32(36 + len(data)), []byte("WAVEfmt "), uint32(16), uint16(1), uint16(c.channels),
		uint32(c.rate), uint32(c.rate * frame), uint16(frame), uint16(16), []byte("data"), uint32(len(data)), data}
	var b bytes.Buffer
	for _, field := range header {
		_ = binary.Write(&b, binary.LittleEndian, field) // never fails
	}
	return b.Bytes()
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
