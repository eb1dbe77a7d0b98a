package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
)

// benchRoutes measures routing over few and over many claims, in turn, so that
// a noisy moment hits both.
func benchRoutes(ctx context.Context, o settings, out io.Writer) error {
	fmt.Fprintf(out, "routing one call (Route and Admit), %d calls a table\n", o.calls)
	var tables [2]*sqlite.Store
	sizes := [2]int{o.small, o.large}
	for i, claims := range sizes {
		s, err := fill(ctx, o, "routes", claims)
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }()
		tables[i] = s
	}
	var took [2][]time.Duration
	for range 10 {
		for i, s := range tables {
			t, err := routes(ctx, s, sizes[i], o.calls/10)
			if err != nil {
				return err
			}
			took[i] = append(took[i], t...)
		}
	}
	var means, p99s [2]float64
	for i, list := range took {
		slices.Sort(list)
		sum := time.Duration(0)
		for _, t := range list {
			sum += t
		}
		means[i] = float64(sum.Microseconds()) / float64(len(list))
		p99s[i] = float64(list[len(list)*99/100].Nanoseconds()) / 1000
		fmt.Fprintf(out, "  %8d claims: mean %6.1f µs, p99 %6.1f µs\n", sizes[i], means[i], p99s[i])
	}
	fmt.Fprintf(out, "  ratio: mean %.2f, p99 %.2f (goal 2.00)\n", means[1]/means[0], p99s[1]/p99s[0])
	return nil
}

// fill makes a database with that many claims, two an allocation. One that an
// earlier run with -dir left there is taken as it is.
func fill(ctx context.Context, o settings, name string, claims int) (*sqlite.Store, error) {
	o.synchronous = string(sqlite.Normal)
	path := filepath.Join(o.dir, fmt.Sprintf("%s%d.db", name, claims))
	if _, err := os.Stat(path); err == nil {
		return sqlite.Open(ctx, sqlite.Options{Path: path})
	}
	s, _, err := o.open(ctx, filepath.Base(path), pool)
	if err != nil {
		return nil, err
	}
	const batch = 500
	for from := 0; from < claims/2; from += batch {
		err := s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			for i := from; i < min(from+batch, claims/2); i++ {
				if err := create(ctx, tx, allocation(i, pool)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	// Closing moves the WAL into the file: both tables are measured settled.
	if err := s.Close(); err != nil {
		return nil, err
	}
	return sqlite.Open(ctx, sqlite.Options{Path: path})
}

// routes measures n random calls, one after the other.
func routes(ctx context.Context, s *sqlite.Store, claims, n int) ([]time.Duration, error) {
	took := make([]time.Duration, n)
	for k := range took {
		i := rand.IntN(claims / 2)
		caller, number := person(2*i+k%2), virtual(i%pool)
		begin := time.Now()
		route, err := s.Route(ctx, number, caller)
		if err != nil {
			return nil, err
		}
		if _, err := masking.Admit(route, caller, start()); err != nil {
			return nil, fmt.Errorf("call %d: %w", i, err)
		}
		took[k] = time.Since(begin)
	}
	return took, nil
}
