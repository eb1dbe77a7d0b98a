// Command storebench measures the SQLite store: durable creates against a bare
// group-commit loop that runs the same statements, and routing over a small
// and a large table of claims. Figures are ratios within one run; see
// docs/performance.md.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlite"
)

// settings are the command's flags.
type settings struct {
	dir         string
	clients     int
	creates     int
	rounds      int
	synchronous string
	small       int
	large       int
	calls       int
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var o settings
	flag.StringVar(&o.dir, "dir", "", "folder for the databases (default: a temporary one, removed afterwards)")
	flag.IntVar(&o.clients, "clients", 64, "concurrent clients that create")
	flag.IntVar(&o.creates, "creates", 30_000, "creates a round; 0 leaves the table out")
	flag.IntVar(&o.rounds, "rounds", 3, "rounds of creates, the store and the bare loop in turn")
	flag.StringVar(&o.synchronous, "synchronous", "full", "full or normal")
	flag.IntVar(&o.small, "small", 10_000, "claims in the small routing table; 0 leaves the table out")
	flag.IntVar(&o.large, "large", 1_000_000, "claims in the large routing table")
	flag.IntVar(&o.calls, "calls", 50_000, "routed calls a table")
	flag.Parse()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "storebench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o settings, out io.Writer) error {
	if o.dir == "" {
		dir, err := os.MkdirTemp("", "storebench")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		o.dir = dir
	}
	if o.creates > 0 {
		if err := benchCreates(ctx, o, out); err != nil {
			return fmt.Errorf("creates: %w", err)
		}
	}
	if o.small > 0 {
		if err := benchRoutes(ctx, o, out); err != nil {
			return fmt.Errorf("routes: %w", err)
		}
	}
	return nil
}

// open opens a new database with a tenant and a pool.
func (o settings) open(ctx context.Context, name string, pool int) (*sqlite.Store, string, error) {
	path := filepath.Join(o.dir, name)
	s, err := sqlite.Open(ctx, sqlite.Options{Path: path, Synchronous: sqlite.Synchronous(o.synchronous)})
	if err != nil {
		return nil, "", err
	}
	zone, err := time.LoadLocation(masking.DefaultZoneName)
	if err != nil {
		return nil, "", err
	}
	err = s.Update(ctx, func(ctx context.Context, tx store.Tx) error {
		t := masking.Tenant{ID: tenantID, AccountSID: "ac_bench", Name: "Bench", Settings: masking.DefaultSettings(zone), CreatedAt: start()}
		if err := tx.InsertTenant(ctx, t); err != nil {
			return err
		}
		for i := range pool {
			n := masking.VirtualNumber{Number: virtual(i), Tenant: tenantID, Sharing: masking.Shared, CreatedAt: start()}
			if err := tx.InsertNumber(ctx, n, start()); err != nil {
				return err
			}
		}
		return nil
	})
	return s, path, err
}

const tenantID = masking.TenantID("bench")

func start() time.Time { return time.Date(2024, 6, 15, 9, 30, 0, 0, time.UTC) }

func virtual(i int) e164.Number { return e164.MustParse(fmt.Sprintf("+9180%08d", i)) }
func person(i int) e164.Number  { return e164.MustParse(fmt.Sprintf("+9199%08d", i)) }

// allocation is the i-th of a run: one caller, one callee, nobody twice.
func allocation(i, pool int) masking.Allocation {
	var random [10]byte
	for k := range 8 {
		random[9-k] = byte(i >> (8 * k))
	}
	return masking.Allocation{
		ID:     masking.AllocationID(masking.NewID(masking.PrefixAllocation, start(), random)),
		Tenant: tenantID, VirtualNumber: virtual(i % pool), From: []e164.Number{person(2 * i)}, To: []e164.Number{person(2*i + 1)},
		Usage: masking.TwoWay, Record: true, CustomField: "order_id=ORD-20240615",
		CreatedAt: start(), UpdatedAt: start(), ExpiresAt: start().Add(24 * time.Hour),
	}
}

func createdEvent(a masking.Allocation) masking.Event {
	return masking.AllocationEvent(masking.EventID("evt_"+string(a.ID)), masking.EventCreated, a, time.UTC, "", start())
}
