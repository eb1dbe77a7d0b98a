// Command apibench measures what the HTTP API costs: reading and creating
// allocations through the whole of it, on a real database, beside a bare
// net/http handler that checks Basic credentials and answers the same bytes.
//
//	go run ./test/load/apibench [-seconds 4] [-rounds 3] [-clients 64]
//
// Each server is a process of its own on one core (GOMAXPROCS=1), so that its
// CPU time is its own; the load is made here, with requests written ahead of
// time. Rounds alternate between the two, and the median round counts. Figures
// are ratios within one run: machines differ, and are shared.
package main

import (
	"bufio"
	"cmp"
	"context"
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
	serve := flag.String("serve", "", "run as a server: bare or tandem (used by the program itself)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if *serve != "" {
		err = runServer(ctx, *serve, os.Stdout)
	} else {
		err = measure(ctx, time.Duration(*seconds)*time.Second, *rounds, *clients)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "apibench:", err)
		os.Exit(1)
	}
}

// result is one round.
type result struct {
	perSecond float64
	cpu       float64 // microseconds of the server a request
}

// measure runs all rounds and prints the table.
func measure(ctx context.Context, length time.Duration, rounds, clients int) error {
	works := []string{"get", "create"}
	results := map[string][]result{}
	for range rounds {
		for _, server := range []string{"bare", "tandem"} {
			for _, work := range works {
				r, err := round(ctx, server, work, length, clients)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", server, work, err)
				}
				results[server+" "+work] = append(results[server+" "+work], r)
			}
		}
	}
	fmt.Printf("median of %d rounds of %v, %d connections, servers on one core each\n\n", rounds, length, clients)
	fmt.Printf("%-8s %-10s %14s %18s\n", "work", "server", "requests/s", "CPU µs a request")
	for _, work := range works {
		bare, ours := median(results["bare "+work]), median(results["tandem "+work])
		fmt.Printf("%-8s %-10s %14.0f %18.1f\n", work, "bare", bare.perSecond, bare.cpu)
		fmt.Printf("%-8s %-10s %14.0f %18.1f\n", work, "tandem", ours.perSecond, ours.cpu)
		fmt.Printf("%-8s %-10s %13.2fx %17.2fx\n\n", work, "ratio", ours.perSecond/bare.perSecond, bare.cpu/ours.cpu)
	}
	fmt.Println("goal: get at least 0.5 of the bare handler. Create is durable (synchronous=full) and the bare one stores nothing.")
	return nil
}

func median(rounds []result) result {
	slices.SortFunc(rounds, func(a, b result) int { return cmp.Compare(a.cpu, b.cpu) })
	return rounds[len(rounds)/2]
}

// round starts a server, warms it up, loads it and stops it.
func round(ctx context.Context, server, work string, length time.Duration, clients int) (_ result, err error) {
	self, err := os.Executable()
	if err != nil {
		return result{}, err
	}
	cmd := exec.CommandContext(ctx, self, "-serve", server)
	cmd.Env = append(os.Environ(), "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	out, err := cmd.StdoutPipe()
	if err != nil {
		return result{}, err
	}
	if err := cmd.Start(); err != nil {
		return result{}, err
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may have ended by itself
		if ended := cmd.Wait(); err == nil && ended != nil {
			err = fmt.Errorf("the server: %w", ended)
		}
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		return result{}, fmt.Errorf("the server said nothing: %w", err)
	}
	var t target
	if _, err := fmt.Sscan(strings.TrimSpace(line), &t.addr, &t.credentials, &t.id); err != nil {
		return result{}, fmt.Errorf("the server said %q: %w", line, err)
	}
	if _, err := load(ctx, t, work, length/4, clients); err != nil {
		return result{}, err
	}
	before, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	start := time.Now()
	n, err := load(ctx, t, work, length, clients)
	if err != nil {
		return result{}, err
	}
	took := time.Since(start)
	after, err := cpuTime(cmd.Process.Pid)
	if err != nil {
		return result{}, err
	}
	return result{perSecond: float64(n) / took.Seconds(), cpu: float64((after - before).Microseconds()) / float64(n)}, nil
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
