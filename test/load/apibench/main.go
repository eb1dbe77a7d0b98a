// Command apibench measures what the HTTP API costs: reading and creating
// allocations through the whole of it, on a real database, beside a bare
// net/http handler that checks Basic credentials and answers the same bytes.
//
//	go run ./test/load/apibench [-seconds 4] [-rounds 3] [-clients 64]
//
// Each server is a process of its own on one core (GOMAXPROCS=1), so that its
// CPU time is its own; the load is made here, with requests written ahead of
// time. A round goes as fast as it can, for the requests a second, and then at
// one fixed rate for both servers, for the CPU time: at full speed a fast
// server finds its clients awake and a slow one pays for waking them. Rounds
// alternate between the two, and the median round counts. Figures are ratios
// within one run: machines differ, and are shared.
package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	seconds := flag.Int("seconds", 4, "how long a round lasts")
	rounds := flag.Int("rounds", 3, "rounds of each server")
	clients := flag.Int("clients", 64, "connections at once")
	gets := flag.Int("gets", 5000, "gets a second while CPU time is measured")
	creates := flag.Int("creates", 1000, "creates a second while CPU time is measured")
	serve := flag.String("serve", "", "run as a server: bare or tandem (used by the program itself)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *serve != "" {
		err = runServer(ctx, *serve, os.Stdout)
	} else {
		err = measure(ctx, plan{time.Duration(*seconds) * time.Second, *rounds, *clients, map[string]int{"get": *gets, "create": *creates}})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apibench:", err)
		os.Exit(1)
	}
}

// plan says how to measure.
type plan struct {
	length  time.Duration
	rounds  int
	clients int
	rates   map[string]int // a second, by work, while CPU time is measured
}

// result is one round.
type result struct {
	perSecond float64 // as fast as it goes
	cpu       float64 // microseconds of the server a request, at the fixed rate
}

// measure runs all rounds and prints the table.
func measure(ctx context.Context, p plan) error {
	works := []string{"get", "create"}
	results := map[string][]result{}
	for range p.rounds {
		for _, server := range []string{"bare", "tandem"} {
			for _, work := range works {
				r, err := round(ctx, p, server, work)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", server, work, err)
				}
				results[server+" "+work] = append(results[server+" "+work], r)
			}
		}
	}
	fmt.Printf("median of %d rounds of %v, %d connections, servers on one core each\n\n", p.rounds, p.length, p.clients)
	fmt.Printf("%-8s %-10s %14s %18s\n", "work", "server", "most a second", "CPU µs, same rate")
	for _, work := range works {
		bare, ours := median(results["bare "+work]), median(results["tandem "+work])
		fmt.Printf("%-8s %-10s %14.0f %18.1f\n", work, "bare", bare.perSecond, bare.cpu)
		fmt.Printf("%-8s %-10s %14.0f %18.1f\n", work, "tandem", ours.perSecond, ours.cpu)
		fmt.Printf("%-8s %-10s %13.2fx %17.2fx  (CPU at %d a second)\n\n", work, "ratio", ours.perSecond/bare.perSecond, bare.cpu/ours.cpu, p.rates[work])
	}
	fmt.Println("goal: get at least 0.5 of the bare handler. Create is durable (synchronous=full) and the bare one stores nothing.")
	return nil
}

// median takes that of each figure by itself.
func median(rounds []result) (m result) {
	slices.SortFunc(rounds, func(a, b result) int { return cmp.Compare(a.perSecond, b.perSecond) })
	m.perSecond = rounds[len(rounds)/2].perSecond
	slices.SortFunc(rounds, func(a, b result) int { return cmp.Compare(a.cpu, b.cpu) })
	m.cpu = rounds[len(rounds)/2].cpu
	return m
}

// round starts a server, warms it up, loads it both ways and stops it.
func round(ctx context.Context, p plan, server, work string) (r result, err error) {
	t, pid, stop, err := start(ctx, server)
	if err != nil {
		return r, err
	}
	defer func() {
		if ended := stop(); err == nil {
			err = ended
		}
	}()
	if _, err := load(ctx, t, work, p.length/4, p.clients, 0); err != nil {
		return r, err
	}
	began := time.Now()
	n, err := load(ctx, t, work, p.length, p.clients, 0)
	if err != nil {
		return r, err
	}
	r.perSecond = float64(n) / time.Since(began).Seconds()
	before, err := cpuTime(pid)
	if err != nil {
		return r, err
	}
	if n, err = load(ctx, t, work, p.length, p.clients, p.rates[work]); err != nil {
		return r, err
	}
	after, err := cpuTime(pid)
	r.cpu = float64((after - before).Microseconds()) / float64(n)
	return r, err
}

// start runs this program as a server and reads where it is.
func start(ctx context.Context, server string) (t target, pid int, stop func() error, err error) {
	self, err := os.Executable()
	if err != nil {
		return t, 0, nil, err
	}
	cmd := exec.CommandContext(ctx, self, "-serve", server)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return t, 0, nil, err
	}
	if err := cmd.Start(); err != nil {
		return t, 0, nil, err
	}
	stop = func() error {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		return cmd.Wait()
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		_, err = fmt.Sscan(strings.TrimSpace(line), &t.addr, &t.credentials, &t.id)
	}
	if err != nil {
		return t, 0, nil, errors.Join(fmt.Errorf("the server said %q: %w", line, err), stop())
	}
	return t, cmd.Process.Pid, stop, nil
}

// cpuTime is the user and system time of a process (proc(5), fields 14 and 15,
// in hundredths of a second).
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, fields, _ := strings.Cut(string(stat), ") ")
	var user, system int64
	parts := strings.Fields(fields)
	if len(parts) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(parts))
	}
	if _, err := fmt.Sscan(parts[11]+" "+parts[12], &user, &system); err != nil {
		return 0, err
	}
	return time.Duration(user+system) * 10 * time.Millisecond, nil
}
