package e2e

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"tandem/internal/voice/phone"
	"tandem/test/load/proc"
)

const (
	floodCalls  = 100
	floodRate   = 5000 // datagrams a second
	floodMemory = 24 << 20
)

// floodTime is how long the flood lasts: FLOOD_SECONDS, for who can wait, or what a
// check of every change can bear.
func floodTime(t *testing.T) time.Duration {
	seconds := os.Getenv("FLOOD_SECONDS")
	if seconds == "" {
		return 12 * time.Second
	}
	n, err := strconv.ParseUint(seconds, 10, 10)
	if err != nil || n == 0 {
		t.Fatalf("FLOOD_SECONDS is %q", seconds)
	}
	return time.Duration(n) * time.Second
}

// floodHurtsNobody lets a hundred calls talk while datagrams that are no SIP, or the
// worst of it, come from an address that nobody knows and from a carrier's; one in
// ten goes to where the calls take their media.
func floodHurtsNobody(t *testing.T, s *site) {
	s.environ = append(s.environ, "TANDEM_LOG_LEVEL=info") // a line for each datagram is what debug is for
	p := s.start()
	c := s.connect(p)
	var calls [2][]*phone.Call
	for i := range floodCalls {
		a, b := c.talk(p, c.pair(i))
		calls[0], calls[1] = append(calls[0], a), append(calls[1], b)
	}
	before := c.heard(calls)

	f := newFlood(t, p.sip(), "127.0.0.9", "127.0.0.4")
	f.media = mediaOf(t, calls[0])
	lasts := floodTime(t)
	early := f.pour(lasts / 4)
	first, err := proc.Resident(p.Process.Pid)
	s.must(err)
	late := f.pour(lasts - lasts/4)
	last, err := proc.Resident(p.Process.Pid)
	s.must(err)
	t.Logf("%d datagrams in %v; resident memory %d KiB after a quarter, %d KiB at the end", early+late, lasts, first>>10, last>>10)
	if last-first > floodMemory {
		t.Errorf("the flood made the server grow by %d KiB", (last-first)>>10)
	}
	if want := floodRate * int(lasts/time.Second); early+late < want*9/10 {
		t.Errorf("%d datagrams are no flood, want %d", early+late, want)
	}

	after := c.heard(calls)
	spoken, lost := after.Packets-before.Packets, after.Lost-before.Lost
	t.Logf("%d packets heard meanwhile, %d lost", spoken, lost)
	if want := 2 * floodCalls * 50 * int(lasts/time.Second); lost > want/1000 || spoken < want*9/10 {
		t.Errorf("the calls were hurt: %d of about %d packets heard, %d lost", spoken, want, lost)
	}
	for _, a := range calls[0] {
		s.must(a.Hangup(s.ctx))
	}
	for _, b := range calls[1] {
		if _, err := b.Ended(s.ctx); err != nil {
			t.Error(err)
		}
	}
	s.floodIsCounted(p)
	p.terminate()
	if code := p.over(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.start()
	s.ended(map[string]int{"caller_hung_up": floodCalls})
}

// mediaOf is where the server takes the media of calls.
func mediaOf(t *testing.T, calls []*phone.Call) (at []*net.UDPAddr) {
	t.Helper()
	line := regexp.MustCompile(`(?s)^SIP/2.0 200 .*\r\nm=audio (\d+) `)
	for _, call := range calls {
		for _, step := range call.Ladder() {
			if found := line.FindSubmatch(step.Raw); found != nil {
				port, err := strconv.Atoi(string(found[1]))
				if err != nil {
					t.Fatal(err)
				}
				at = append(at, &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
			}
		}
	}
	if len(at) != len(calls) {
		t.Fatalf("%d places for the media of %d calls", len(at), len(calls))
	}
	return at
}

// heard waits until every call hears its far side, and sums up what all have heard.
func (c *carriers) heard(calls [2][]*phone.Call) (sum phone.Hearing) {
	c.s.t.Helper()
	for side, tone := range []float64{1000, 440} {
		for _, call := range calls[side] {
			c.s.must(call.HearsTone(c.s.ctx, tone))
			h := call.Hearing()
			sum.Packets += h.Packets
			sum.Lost += h.Lost
		}
	}
	return sum
}

// metricsOf are what a process counts.
func (s *site) metricsOf(p *process) string {
	s.t.Helper()
	res, err := s.web.Get("http://" + p.addrs.Ops + "/metrics")
	s.must(err)
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(res.Body)
	s.must(err)
	return string(text)
}

// floodIsCounted looks at what the server says of the flood.
func (s *site) floodIsCounted(p *process) {
	s.t.Helper()
	text := s.metricsOf(p)
	for name, want := range map[string]bool{"tandem_sip_panics_total": false, "tandem_leaks_blocked_total": false,
		"tandem_sip_malformed_total": true, "tandem_sip_dropped_sources_total": true} {
		value := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
		if value == nil || (value[1] != "0") != want {
			s.t.Errorf("%s is %v", name, value)
		}
	}
}

// flood is one who sends what nobody wants from several addresses.
type flood struct {
	t       *testing.T
	to      *net.UDPAddr
	media   []*net.UDPAddr
	sockets []*net.UDPConn
	rng     *rand.Rand
	worst   [][]byte
	readers sync.WaitGroup
}

func newFlood(t *testing.T, to netip.AddrPort, sources ...string) *flood {
	t.Helper()
	f := &flood{t: t, to: net.UDPAddrFromAddrPort(to), rng: rand.New(rand.NewPCG(5, 4475))}
	files, err := filepath.Glob("../../internal/voice/siptx/testdata/rfc4475/*.sip")
	if err != nil || len(files) < 40 {
		t.Fatalf("%d torture messages, %v", len(files), err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		f.worst = append(f.worst, raw)
	}
	for _, source := range sources {
		conn, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.ParseIP(source)})
		if err != nil {
			t.Fatal(err)
		}
		f.sockets = append(f.sockets, conn)
		f.readers.Go(func() { // what is answered must not fill the machine's buffers
			buf := make([]byte, 65536)
			for {
				if _, err := conn.Read(buf); err != nil {
					return
				}
			}
		})
	}
	t.Cleanup(func() {
		for _, conn := range f.sockets {
			_ = conn.Close()
		}
		f.readers.Wait()
	})
	return f
}

// pour sends at floodRate for a while and tells how many datagrams it sent.
func (f *flood) pour(d time.Duration) (sent int) {
	const beat = 5 * time.Millisecond
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for start := time.Now(); ; <-tick.C {
		gone := min(time.Since(start), d)
		for due := int(gone * floodRate / time.Second); sent < due; sent++ {
			to := f.to
			if sent%10 == 0 {
				to = f.media[sent/10%len(f.media)]
			}
			source := f.sockets[sent/len(f.media)%len(f.sockets)]
			if _, err := source.WriteToUDP(f.datagram(sent), to); err != nil {
				f.t.Fatal(err)
			}
		}
		if gone == d {
			return sent
		}
	}
}

// datagram is the n-th: a torture message as it is or made another transaction, one
// with a byte changed, or noise.
func (f *flood) datagram(n int) []byte {
	raw := f.worst[f.rng.IntN(len(f.worst))]
	switch f.rng.IntN(4) {
	case 0:
		return raw
	case 1:
		fresh := fmt.Sprintf("z9hG4bK%d", n)
		return []byte(strings.ReplaceAll(string(raw), "z9hG4bK", fresh))
	case 2:
		bent := append([]byte(nil), raw...)
		bent[f.rng.IntN(len(bent))] ^= byte(1 + f.rng.IntN(255))
		return bent
	}
	noise := make([]byte, f.rng.IntN(1400))
	for i := range noise {
		noise[i] = byte(f.rng.Uint32())
	}
	return noise
}
