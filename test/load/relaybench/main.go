// Relaybench measures what bridged G.711 calls cost our media relay, beside a
// C relay that does the least (test/load/crelay): CPU seconds of the relay's
// process for 1000 call-seconds, the ratio of the two, and loss.
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
	if len(os.Args) == 5 && os.Args[1] == "relay" {
		exit(serve(os.Args[2], os.Args[3], os.Args[4], os.Stdin, os.Stdout))
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

// compare measures both relays in turn, so that both see the same machine.
func compare(out io.Writer, crelay string, sizes []int, d time.Duration, rounds int, pin bool) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	relays := []struct {
		name string
		argv []string
	}{{"tandem", []string{self, "relay"}}, {"C epoll", []string{crelay}}}
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
		ours, theirs := medianCost(rows[0]), medianCost(rows[1])
		if ours == 0 || theirs == 0 {
			fmt.Fprintf(out, "%6d  ratio     none: a relay has no round without loss\n", n)
			continue
		}
		fmt.Fprintf(out, "%6d  ratio     %9.2f\n", n, ours/theirs)
	}
	return nil
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

// medianCost is over the rounds without loss, 0 if there is none: a relay that
// drops does less work for what it was sent, and would look cheaper for it.
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

// serve is the child: our relay, with the interface of crelay.c.
func serve(count, aPorts, bPorts string, in io.Reader, out io.Writer) error {
	calls, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	var phones [2][]netip.AddrPort
	for side, list := range []string{aPorts, bPorts} {
		for p := range strings.SplitSeq(list, ",") {
			a, err := netip.ParseAddrPort(loopback.String() + ":" + p)
			if err != nil {
				return err
			}
			phones[side] = append(phones[side], a)
		}
	}
	e, err := relay.New(relay.Options{IP: loopback})
	if err != nil {
		return err
	}
	defer func() { _ = e.Close() }() // it gives no error; the process ends
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
		fmt.Fprintln(w, s.Local(relay.A).Port(), s.Local(relay.B).Port())
	}
	fmt.Fprintln(w, "ready")
	if err := w.Flush(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, in)
	return err
}
