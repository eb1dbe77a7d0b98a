package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"tandem/test/load/proc"
)

// warmUp tells how much goes before a measurement: a third of its length.
const warmUp = 3

// mostCalls bounds a step of the climb, so that it does not end for want of
// media ports: with its warm-up it takes two thirds of them.
const mostCalls = 7500

// stage is one measurement at one rate.
type stage struct {
	tally
	calls    int
	cost     float64 // CPU seconds of the server for 1000 calls
	others   float64 // of the server's CPU, by other work, in percent; only if pinned
	p50, p99 float64 // INVITE to 180 in milliseconds, the load's own time included
}

// scene is a server and a load that are ready for each other.
type scene struct {
	*server
	*load
	pid    int
	pinned bool
}

func open(ctx context.Context, o options, pairs int) (*scene, error) {
	l, err := newLoad(pairs)
	if err != nil {
		return nil, err
	}
	s, err := startServer(ctx, o)
	if err != nil {
		l.close()
		return nil, err
	}
	w := &scene{s, l, s.cmd.Process.Pid, o.pin}
	l.through(s.sip, func(int) string { return virtualNumber })
	if err := s.setUp(ctx, address(l.callee), pairs); err != nil {
		return nil, errors.Join(err, w.close())
	}
	// The server takes a new trunk up within a second or two.
	if err := until(ctx, time.Now().Add(2500*time.Millisecond)); err != nil {
		return nil, errors.Join(err, w.close())
	}
	t, err := l.run(ctx, 50, 25)
	if err == nil && t.completed != 25 {
		err = fmt.Errorf("%d of the first 25 calls failed", t.failed)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

func (w *scene) close() error {
	w.load.close()
	return w.server.stop()
}

// stage places calls for so long, after a warm-up at the same rate, and takes
// the server's CPU time until the last record is written.
func (w *scene) stage(ctx context.Context, rate float64, length time.Duration) (s stage, err error) {
	if _, err := w.run(ctx, rate, calls(rate, length/warmUp)); err != nil {
		return s, err
	}
	first, err := w.settle(ctx)
	if err != nil {
		return s, err
	}
	m, err := startMeter(w.pid, w.pinned)
	if err != nil {
		return s, err
	}
	s.calls = calls(rate, length)
	if s.tally, err = w.run(ctx, rate, s.calls); err != nil {
		return s, err
	}
	last, err := w.settle(ctx)
	if err != nil {
		return s, err
	}
	if err := m.stop(&s); err != nil {
		return s, err
	}
	s.repeated = max(s.repeated, int(last.resent-first.resent)) // what got lost counts too
	if n := int(last.ended - first.ended); s.failed == 0 && n != s.calls {
		return s, fmt.Errorf("the server has written %d of %d calls", n, s.calls)
	}
	slices.Sort(s.added)
	s.p50, s.p99 = percentiles(s.added)
	return s, nil
}

func calls(rate float64, length time.Duration) int { return max(1, int(rate*length.Seconds())) }

// costs is the table of CPU and latency at fixed rates.
func costs(ctx context.Context, o options, out *os.File) error {
	w, err := open(ctx, o, o.pairs)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "calls through the whole server, %d rounds of %v a rate, pinned=%v; CPU s = user+sys of the server for 1000 calls\n",
		o.rounds, o.length, o.pin)
	fmt.Fprintf(out, "%8s  %6s  %-18s  %-12s  %9s  %5s  %6s  %6s  %-13s  %-13s  %s\n", "calls/s", "CPU s", "of each round", "others %",
		"only pass", "ratio", "failed", "resent", "INVITE-180 ms", "load alone", "added p50 / p99")
	for _, rate := range o.rates {
		var r rounds
		for range o.rounds {
			if err := r.add(ctx, o, w, rate); err != nil {
				return errors.Join(err, w.close())
			}
		}
		r.print(out, rate)
	}
	fmt.Fprint(out, "goal: at most 0.50 CPU s at 400 calls/s; added p50 at most 0.6 ms, p99 at most 2 ms\n\n")
	return w.close()
}

// rounds are the measurements of one rate: of the server, and for comparison
// of passing on alone and of the load alone.
type rounds struct{ tandem, passed, alone []stage }

func (r *rounds) add(ctx context.Context, o options, w *scene, rate float64) error {
	s, err := w.stage(ctx, rate, o.length)
	if err != nil {
		return err
	}
	p, err := passedOn(ctx, o, rate)
	if err != nil {
		return err
	}
	a, err := alone(ctx, o, rate)
	if err != nil {
		return err
	}
	r.tandem, r.passed, r.alone = append(r.tandem, s), append(r.passed, p), append(r.alone, a)
	return nil
}

func (r *rounds) print(out *os.File, rate float64) {
	var each, others string
	failed, resent := 0, 0
	for _, s := range r.tandem {
		each += fmt.Sprintf("%.3f ", s.cost)
		others += fmt.Sprintf("%.0f ", s.others)
		failed += s.failed
		resent += s.resent + s.repeated
	}
	cost, floor := median(r.tandem, stage.cpu), median(r.passed, stage.cpu)
	p50, p99 := median(r.tandem, stage.median), median(r.tandem, stage.tail)
	own50, own99 := median(r.alone, stage.median), median(r.alone, stage.tail)
	fmt.Fprintf(out, "%8.0f  %6.3f  %-18s  %-12s  %9.3f  %5.1f  %6d  %6d  %-13s  %-13s  %.2f / %.2f\n", rate, cost, each, others, floor, cost/floor,
		failed, resent, fmt.Sprintf("%.2f / %.2f", p50, p99), fmt.Sprintf("%.2f / %.2f", own50, own99), p50-own50, p99-own99)
	for _, s := range r.tandem {
		explain(out, s.tally)
	}
}

// explain says how a call failed, if one did.
func explain(out *os.File, t tally) {
	if t.failed > 0 {
		fmt.Fprintf(out, "%8s  %s\n", "", t.why)
	}
}

func (s stage) cpu() float64    { return s.cost }
func (s stage) median() float64 { return s.p50 }
func (s stage) tail() float64   { return s.p99 }

// median is that of one figure over some rounds.
func median(rounds []stage, figure func(stage) float64) float64 {
	sorted := slices.SortedFunc(slices.Values(rounds), func(a, b stage) int { return cmp.Compare(figure(a), figure(b)) })
	return figure(sorted[len(sorted)/2])
}

// climb raises the rate until it is not clean twice.
func climb(ctx context.Context, o options, out *os.File) error {
	if len(o.climb) == 0 {
		return nil
	}
	fmt.Fprintf(out, "most calls a second without a failure or a retransmission, the server on %s; a rate that is not clean is tried twice\n", cores(o))
	fmt.Fprintf(out, "%8s  %6s  %6s  %6s  %8s  %6s  %6s  %5s  %s\n", "calls/s", "calls", "CPU s", "busy %", "others %", "failed", "resent", "clean", "INVITE-180 ms p50 / p99")
	highest := 0.0
	for _, rate := range o.climb {
		clean := false
		for try := 0; try < 2 && !clean; try++ {
			s, err := step(ctx, o, rate)
			if err != nil {
				return err
			}
			clean = s.clean()
			fmt.Fprintf(out, "%8.0f  %6d  %6.3f  %6.0f  %8.1f  %6d  %6d  %5v  %.2f / %.2f\n", rate, s.calls, s.cost, s.cost*rate/10, s.others,
				s.failed, s.resent+s.repeated, clean, s.p50, s.p99)
			explain(out, s.tally)
		}
		if !clean {
			break
		}
		highest = rate
	}
	fmt.Fprintf(out, "highest clean: %.0f calls/s (goal: at least 800 on one core)\n\n", highest)
	return nil
}

// step measures one rate on a server of its own: media ports rest for half a
// minute after a call, and those of the rate before would be missing.
func step(ctx context.Context, o options, rate float64) (s stage, err error) {
	w, err := open(ctx, o, o.pairs)
	if err != nil {
		return s, err
	}
	s, err = w.stage(ctx, rate, min(o.length, time.Duration(mostCalls/rate*float64(time.Second))))
	return s, errors.Join(err, w.close())
}

func cores(o options) string {
	if o.pin {
		return "one core"
	}
	return "all cores"
}

// memory is the table of what a server takes with calls up.
func memory(ctx context.Context, o options, out *os.File) error {
	if len(o.held) == 0 {
		return nil
	}
	most := slices.Max(o.held)
	w, err := open(ctx, o, most)
	if err != nil {
		return err
	}
	idle, err := proc.Resident(w.pid)
	if err != nil {
		return errors.Join(err, w.close())
	}
	fmt.Fprintf(out, "memory of the server (VmRSS), %d allocations\n%8s  %8s  %s\n%8d  %8.1f\n", most, "calls up", "MB", "KB a call", 0, mega(idle))
	for _, n := range slices.Sorted(slices.Values(o.held)) {
		if err := heldRow(ctx, w, n, idle, out); err != nil {
			return errors.Join(err, w.close())
		}
	}
	fmt.Fprint(out, "goal: at most 60 MB idle, at most 40 KB a call\n\n")
	return w.close()
}

// heldRow sets up n calls, looks, and hangs them up.
func heldRow(ctx context.Context, w *scene, n int, idle int64, out *os.File) error {
	const rate = 200
	w.mu.Lock()
	w.hold = true
	w.mu.Unlock()
	t, err := w.run(ctx, rate, n)
	if err != nil {
		return err
	}
	g, err := w.read(ctx)
	if err != nil {
		return err
	}
	rss, err := proc.Resident(w.pid)
	if err != nil {
		return err
	}
	if t.failed > 0 || int(g.live) != n {
		return fmt.Errorf("%.0f of %d calls are up, %d failed", g.live, n, t.failed)
	}
	fmt.Fprintf(out, "%8d  %8.1f  %.1f\n", n, mega(rss), float64(rss-idle)/1024/float64(n))
	if err := w.hangUp(ctx, rate); err != nil {
		return err
	}
	_, err = w.settle(ctx)
	return err
}

func mega(bytes int64) float64 { return float64(bytes) / (1 << 20) }
