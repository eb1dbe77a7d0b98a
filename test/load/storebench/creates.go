package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tandem/internal/masking"
	"tandem/internal/store"
)

// pool is how many virtual numbers the creates share.
const pool = 1000

// benchCreates measures the store and the bare loop in turn, each round on a
// new database, and compares the medians.
func benchCreates(ctx context.Context, o settings, out io.Writer) error {
	fmt.Fprintf(out, "durable creates, %d clients, synchronous=%s, %d creates a round\n", o.clients, o.synchronous, o.creates)
	var ported, bared, portedCPU, baredCPU []float64
	for round := range o.rounds {
		p, err := measure(ctx, o, fmt.Sprintf("store%d.db", round), viaStore)
		if err != nil {
			return fmt.Errorf("store: %w", err)
		}
		b, err := measure(ctx, o, fmt.Sprintf("bare%d.db", round), viaBareLoop)
		if err != nil {
			return fmt.Errorf("bare loop: %w", err)
		}
		fmt.Fprintf(out, "  round %d: store %6.0f/s %4.0f µs CPU each, bare loop %6.0f/s %4.0f µs; ratio %.2f, by CPU %.2f\n",
			round+1, p.perSecond, p.cpu, b.perSecond, b.cpu, p.perSecond/b.perSecond, b.cpu/p.cpu)
		ported, bared = append(ported, p.perSecond), append(bared, b.perSecond)
		portedCPU, baredCPU = append(portedCPU, p.cpu), append(baredCPU, b.cpu)
	}
	p, b := median(ported), median(bared)
	fmt.Fprintf(out, "  median:  store %6.0f/s %4.0f µs CPU each, bare loop %6.0f/s %4.0f µs; ratio %.2f, by CPU %.2f (goal 0.70)\n",
		p, median(portedCPU), b, median(baredCPU), p/b, median(baredCPU)/median(portedCPU))
	return nil
}

func median(list []float64) float64 {
	list = slices.Clone(list)
	slices.Sort(list)
	return list[len(list)/2]
}

// way opens one way to create and gives the function of a client.
type way func(ctx context.Context, o settings, name string) (create func(masking.Allocation) error, stop func() error, err error)

// figure is what a round came to.
type figure struct {
	perSecond float64
	cpu       float64 // microseconds of user and system time a create, clients included
}

// measure runs a round of creates in one way.
func measure(ctx context.Context, o settings, name string, open way) (f figure, err error) {
	create, stop, err := open(ctx, o, name)
	if err != nil {
		return f, err
	}
	begin, used := time.Now(), cpuTime()
	err = clients(o.clients, o.creates, func(i int) error { return create(allocation(i, pool)) })
	n := float64(o.creates)
	f = figure{perSecond: n / time.Since(begin).Seconds(), cpu: float64((cpuTime() - used).Microseconds()) / n}
	return f, errors.Join(err, stop())
}

// cpuTime is what the process has used so far.
func cpuTime() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// clients runs n calls of run, at most c at once, and gives the first error.
func clients(c, n int, run func(i int) error) error {
	var next atomic.Int64
	var wg sync.WaitGroup
	first := make(chan error, 1)
	for range c {
		wg.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := run(i); err != nil {
					select {
					case first <- err:
					default:
					}
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case err := <-first:
		return err
	default:
		return nil
	}
}

// viaStore creates as the use case does, through the port.
func viaStore(ctx context.Context, o settings, name string) (func(masking.Allocation) error, func() error, error) {
	s, _, err := o.open(ctx, name, pool)
	if err != nil {
		return nil, nil, err
	}
	create := func(a masking.Allocation) error {
		return s.Update(ctx, func(ctx context.Context, tx store.Tx) error { return create(ctx, tx, a) })
	}
	return create, s.Close, nil
}

func create(ctx context.Context, tx store.Tx, a masking.Allocation) error {
	virtual, err := tx.AnyVirtual(ctx, a.Tenant, a.Parties())
	if err != nil {
		return err
	}
	if virtual {
		return fmt.Errorf("a party of %s is virtual", a.ID)
	}
	n, err := tx.Number(ctx, a.Tenant, a.VirtualNumber)
	if err != nil {
		return err
	}
	if err := tx.InsertAllocation(ctx, a); err != nil {
		return err
	}
	if err := tx.Hold(ctx, a, n.Sharing, start()); err != nil {
		return err
	}
	if err := tx.NoteUse(ctx, a.VirtualNumber, 1, start()); err != nil {
		return err
	}
	return tx.AppendEvent(ctx, createdEvent(a))
}
