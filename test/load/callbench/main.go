// Command callbench measures what calls cost: it runs a server as a process of
// its own, makes allocations over HTTP, and places INVITE-180-200-ACK-BYE calls
// through it over UDP, both carriers being this program (or sipp), with the
// call record and the events written to the database.
//
//	make build
//	go run ./test/load/callbench [-rates 200,400] [-seconds 10] [-rounds 3] [-climb 600,800,1000]
//
// Load and server have a CPU each if there are two. CPU seconds count, of the
// server's process alone and until all is written; "others" says how much of its
// CPU went to other work. Beside it the same calls go through a process that
// only passes datagrams on, which is what this machine takes for the sockets
// alone. Nothing here fails for being slow.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tandem/test/load/proc"
)

// Where load and server run, if they are pinned.
const (
	loadCPU   = 0
	serverCPU = 1
)

var loopback = netip.MustParseAddr("127.0.0.1")

// options are the command's flags.
type options struct {
	tandem string
	dir    string
	rates  []float64
	climb  []float64
	held   []int
	length time.Duration
	rounds int
	pairs  int
	pin    bool
	sipp   bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if len(os.Args) == 3 && os.Args[1] == passing {
		exit(pass(ctx, os.Args[2], os.Stdout))
	}
	o, err := flags()
	if err == nil {
		err = measure(ctx, o, os.Stdout)
	}
	exit(err)
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "callbench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

func flags() (o options, err error) {
	flag.StringVar(&o.tandem, "tandem", "bin/tandem", "the program under test")
	flag.StringVar(&o.dir, "dir", "", "folder for the server's data (default: that for temporary files)")
	rates := flag.String("rates", "200,400", "calls a second for CPU and latency, comma between")
	climb := flag.String("climb", "600,800,1000,1200,1400,1600,1800,2000", "calls a second until one is not clean; empty leaves the table out")
	held := flag.String("held", "500,1000", "calls up at once for the memory of one; empty leaves the table out")
	seconds := flag.Int("seconds", 10, "length of one measurement")
	flag.IntVar(&o.rounds, "rounds", 3, "measurements of each rate; the median counts")
	flag.IntVar(&o.pairs, "pairs", 2000, "allocations, each with a caller of its own")
	flag.BoolVar(&o.pin, "pin", runtime.NumCPU() > 1, "load on CPU 0, server on CPU 1")
	flag.BoolVar(&o.sipp, "sipp", true, "measure the rates with sipp as both carriers too")
	flag.Parse()
	o.length = time.Duration(*seconds) * time.Second
	if o.rates, err = list(*rates, strconv.ParseFloat); err != nil {
		return o, err
	}
	if o.climb, err = list(*climb, strconv.ParseFloat); err != nil {
		return o, err
	}
	atoi := func(s string, _ int) (int, error) { return strconv.Atoi(s) }
	if o.held, err = list(*held, atoi); err != nil {
		return o, err
	}
	if o.rounds < 1 || *seconds < 1 || o.pairs < 1 || o.pairs > 90_000 {
		return o, fmt.Errorf("-rounds and -seconds are at least 1, -pairs is 1 to 90000")
	}
	if _, err := os.Stat(o.tandem); err != nil {
		return o, fmt.Errorf("%w; make build makes it", err)
	}
	return o, nil
}

// list reads numbers with commas between.
func list[T int | float64](text string, parse func(string, int) (T, error)) ([]T, error) {
	var values []T
	for s := range strings.SplitSeq(text, ",") {
		if s == "" {
			continue
		}
		v, err := parse(s, 64)
		if err != nil || v <= 0 {
			return nil, fmt.Errorf("%q is not above 0", s)
		}
		values = append(values, v)
	}
	return values, nil
}

// measure prints all tables.
func measure(ctx context.Context, o options, out *os.File) error {
	debug.SetGCPercent(400) // the load's collector is no part of what is measured
	if o.pin {
		if err := proc.PinSelf(loadCPU); err != nil {
			return err
		}
	}
	for _, table := range []func(context.Context, options, *os.File) error{costs, viaSipp, climb, memory} {
		if err := table(ctx, o, out); err != nil {
			return err
		}
	}
	return nil
}
