// Relaybench measures what bridged G.711 calls cost our media relay, with each
// of its engines, beside a C relay that does the least (test/load/crelay), and
// what they cost when every one is recorded beside the same unrecorded: CPU
// seconds of the relay's process for 1000 call-seconds, their ratio in rounds
// that were run one after the other, loss, and the time that it waited for its
// CPU.
//
// Only the ratio and the CPU seconds mean anything: machines are shared.
// run.sh builds both and starts it.
package main

import (
	"bufio"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"tandem/internal/voice/relay"
)

var loopback = netip.MustParseAddr("127.0.0.1")

func main() {
	if len(os.Args) == 6 && os.Args[1] == "relay" {
		exit(serve(os.Args[2], os.Args[3:], os.Stdin, os.Stdout))
	}
	calls := flag.String("calls", "200,800", "numbers of calls, comma between")
	seconds := flag.Int("seconds", 10, "length of one measurement")
	rounds := flag.Int("rounds", 3, "measurements of each; the median counts")
	crelay := flag.String("crelay", "", "path of the C relay")
	pin := flag.Bool("pin", runtime.NumCPU() > 1, "load on CPU 0, relay on CPU 1")
	flag.Parse()
	var sizes []int
	for s := range strings.SplitSeq(*calls, ",") {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			exit(fmt.Errorf("-calls: %q is no number of calls", s))
		}
		sizes = append(sizes, n)
	}
	if *crelay == "" || *seconds < 1 || *rounds < 1 {
		exit(fmt.Errorf("-crelay must be given, -seconds and -rounds at least 1"))
	}
	exit(compare(os.Stdout, *crelay, sizes, time.Duration(*seconds)*time.Second, *rounds, *pin))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "relaybench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// compare measures the relays in turn, so that all see the same machine.
func compare(out io.Writer, crelay string, sizes []int, d time.Duration, rounds int, pin bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	relays := []struct {
		name   string
		argv   []string
		beside int // the one that it is compared with
	}{
		{"C epoll", []string{crelay}, 0},
		{"epoll", []string{self, "relay", relay.AutoEngine}, 0},
		{"portable", []string{self, "relay", relay.PortableEngine}, 0},
		{"recorded", []string{self, "relay", recorded}, 1},
	}
	fmt.Fprintf(out, "%d rounds of %v, pinned=%v; CPU s = user+sys of the relay for 1000 call-seconds (100 packets in and out each)\n", rounds, d, pin)
	fmt.Fprintf(out, "%6s  %-8s  %9s  %-22s  %-20s  %-14s  %5s  %s\n", "calls", "relay", "CPU s", "of each round", "lost % of each", "waited %", "wrong", "RSS")
	for _, n := range sizes {
		rows := make([][]result, len(relays))
		for range rounds {
			for i, r := range relays {
				m, err := measure(r.argv, n, d, pin)
				if err != nil {
					return fmt.Errorf("%s with %d calls: %w", r.name, n, err)
				}
				rows[i] = append(rows[i], m)
			}
		}
		for i, r := range relays {
			printRow(out, n, r.name, rows[i])
		}
		for i := 1; i < len(relays); i++ {
			beside := relays[i].beside
			printRatio(out, n, relays[i].name, relays[beside].name, pairs(rows[i], rows[beside]))
		}
	}
	return nil
}

// pairs is what each round of a relay cost in terms of another relay's round
// beside it, for the rounds in which neither lost packets: machines change from
// round to round, and a relay that drops does less work for what it was sent.
func pairs(ours, theirs []result) (ratios []float64) {
	for i := range ours {
		if ours[i].clean() && theirs[i].clean() && theirs[i].cost > 0 {
			ratios = append(ratios, ours[i].cost/theirs[i].cost)
		}
	}
	return ratios
}

func printRatio(out io.Writer, calls int, name, beside string, ratios []float64) {
	if len(ratios) == 0 {
		fmt.Fprintf(out, "%6d  %-8s  ratio none: no round in which neither it nor %s lost packets\n", calls, name, beside)
		return
	}
	fmt.Fprintf(out, "%6d  %-8s  ratio %.2f to %s, of pairs %.2f\n", calls, name, median(ratios), beside, ratios)
}

// printRow prints the rounds of one relay; a star marks those with loss.
func printRow(out io.Writer, calls int, name string, rounds []result) {
	var each, lost, waited []string
	var wrong uint64
	for _, m := range rounds {
		mark := ""
		if !m.clean() {
			mark = "*"
		}
		each = append(each, fmt.Sprintf("%.3f%s", m.cost, mark))
		lost = append(lost, fmt.Sprintf("%.3f", 100*(1-float64(m.received)/float64(m.sent))))
		waited = append(waited, fmt.Sprintf("%.0f", m.waited))
		wrong += m.wrong
	}
	fmt.Fprintf(out, "%6d  %-8s  %9.3f  %-22s  %-20s  %-14s  %5d  %.1f MB\n", calls, name, medianCost(rounds),
		strings.Join(each, " "), strings.Join(lost, " "), strings.Join(waited, " "), wrong, float64(rounds[len(rounds)-1].rss)/1024)
}

// medianCost is over the rounds without loss, 0 if there is none.
func medianCost(rounds []result) float64 {
	var costs []float64
	for _, m := range rounds {
		if m.clean() {
			costs = append(costs, m.cost)
		}
	}
	if len(costs) == 0 {
		return 0
	}
	return median(costs)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// serve is the child: our relay with one of its engines, and then with the
// arguments and the interface of crelay.c.
func serve(engine string, args []string, in io.Reader, out io.Writer) error {
	calls, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	var phones [2][]netip.AddrPort
	for side, list := range args[1:] {
		for p := range strings.SplitSeq(list, ",") {
			a, err := netip.ParseAddrPort(loopback.String() + ":" + p)
			if err != nil {
				return err
			}
			phones[side] = append(phones[side], a)
		}
	}
	taping := engine == recorded
	if taping {
		engine = relay.AutoEngine
	}
	e, err := relay.New(relay.Options{IP: loopback, Engine: engine})
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }() // it gives no error; the process ends
	record := func(*relay.Session, int) {}
	if taping {
		tapes, err := newTapes(e.Elapsed)
		if err != nil {
			return err
		}
		defer tapes.close()
		record = tapes.record
	}
	w := bufio.NewWriter(out)
	for i := range calls {
		s, err := e.Open()
		if err != nil {
			return err
		}
		for _, side := range []relay.Side{relay.A, relay.B} {
			phone := phones[side][i%len(phones[side])]
			if err := s.Connect(side, relay.Remote{RTP: phone, Payloads: relay.SamePayloads(), Send: true, Receive: true}); err != nil {
				return err
			}
		}
		record(s, i)
		fmt.Fprintln(w, s.Local(relay.A).Port(), s.Local(relay.B).Port())
	}
	fmt.Fprintln(w, "ready")
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}
