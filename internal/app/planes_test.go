package app

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"tandem/internal/control"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/sqlstore"
	"tandem/internal/store/storetest"
	"tandem/internal/testkit/postgres"
)

// planes are the use cases of nodes on one PostgreSQL, at one time, with the tenant acme
// and two shared numbers.
type planes struct {
	*testing.T
	store store.Store
	nodes []*control.Plane
	now   time.Time
}

func newPlanes(t *testing.T, n int) *planes {
	server := postgres.Start(t)
	c := place(t, server.URL(server.Database(t, "")))
	p := &planes{T: t, now: storetest.Start()}
	for range n {
		s, err := openEngine(t.Context(), c, slog.New(slog.DiscardHandler), sqlstore.Opening{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
		plane, err := control.New(control.Options{Store: s, Clock: func() time.Time { return p.now }, Random: rand.Reader,
			Log: slog.New(slog.DiscardHandler), TokenKey: make([]byte, 32), TrunkSecrets: plain{}, WebhookSecrets: plain{}})
		if err != nil {
			t.Fatal(err)
		}
		p.store, p.nodes = s, append(p.nodes, plane)
	}
	p.update(func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertTenant(ctx, storetest.Tenant(t, "acme")); err != nil {
			return err
		}
		for i := range 2 {
			if err := tx.InsertNumber(ctx, storetest.Number("acme", storetest.Virtual(i), masking.Shared), p.now); err != nil {
				return err
			}
		}
		return nil
	})
	return p
}

func (p *planes) update(fn func(context.Context, store.Tx) error) {
	p.Helper()
	if err := p.store.Update(p.Context(), fn); err != nil {
		p.Fatal(err)
	}
}

// atOnce runs something at every node at the same time.
func (p *planes) atOnce(run func(i int, n *control.Plane) error) {
	var wg sync.WaitGroup
	for i, n := range p.nodes {
		wg.Go(func() {
			if err := run(i, n); err != nil {
				p.Errorf("node %d: %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestNodesThatSweepAtOnceTellOfEachEndOnce(t *testing.T) {
	p := newPlanes(t, 3)
	const n = 60
	for i := range n {
		a := storetest.Allocation("acme", storetest.AllocationID(i), storetest.Virtual(i%2), storetest.People(2*i), storetest.People(2*i+1))
		if err := storetest.Create(t.Context(), p.store, a, storetest.Start()); err != nil {
			t.Fatal(err)
		}
		p.now = a.ExpiresAt
	}
	swept := make([]int, len(p.nodes))
	p.atOnce(func(i int, n *control.Plane) error {
		for {
			some, err := n.Allocations.Sweep(context.Background(), 13)
			if swept[i] += some; err != nil || some == 0 {
				return err
			}
		}
	})
	total := 0
	for _, some := range swept {
		total += some
	}
	ends := map[masking.AllocationID]int{}
	p.update(func(ctx context.Context, tx store.Tx) error {
		events, err := tx.Events(ctx, store.EventFilter{Tenant: "acme", Limit: 10 * n})
		if err != nil {
			return err
		}
		for _, e := range events {
			if e.Type == masking.EventDeallocated {
				ends[e.Allocation]++
			}
		}
		numbers, err := tx.Numbers(ctx, "acme", "", 10)
		for _, vn := range numbers {
			if vn.Load != 0 {
				t.Errorf("a number says that it carries %d allocations: none is left", vn.Load)
			}
		}
		return err
	})
	for id, times := range ends {
		if times != 1 {
			t.Errorf("the end of %s is told %d times", id, times)
		}
	}
	if total != n || len(ends) != n {
		t.Errorf("%d ends written and those of %d allocations told, of %d", total, len(ends), n)
	}
}

func TestSettingsThatAreChangedAtTwoNodesAtOnceAreBothInForce(t *testing.T) {
	p := newPlanes(t, 2)
	for i := range 20 {
		calls, rate := 1000+i, 50+i
		p.atOnce(func(k int, n *control.Plane) error {
			if k == 0 {
				_, err := n.Settings.Update(context.Background(), "acme", func(s *masking.Settings) error { s.Guards.DayCalls = calls; return nil }, done[control.Configured]())
				return err
			}
			_, err := n.Tenants.Update(context.Background(), "acme",
				control.TenantChange{Adjust: func(s *masking.Settings) error { s.MaxCallerRate = rate; return nil }}, done[masking.Tenant]())
			return err
		})
		is, err := p.nodes[0].Tenants.Get(t.Context(), "acme")
		if err != nil || is.Settings.Guards.DayCalls != calls || is.Settings.MaxCallerRate != rate {
			t.Fatalf("set to %d and %d, and they are %d and %d: %v", calls, rate, is.Settings.Guards.DayCalls, is.Settings.MaxCallerRate, err)
		}
	}
}
func TestARequestSentToTwoNodesAtOnceIsAnsweredByBothAsTheFirst(t *testing.T) {
	p := newPlanes(t, 2)
	made := control.Once[control.NewToken]{
		Render: func(n control.NewToken) control.Answer {
			return control.Answer{Status: 201, Body: []byte(n.Token.ID)}
		},
		Refuse: func(e *masking.Error) control.Answer { return control.Answer{Status: 409, Body: []byte(e.Code)} }}
	const rounds = 20
	tokens := map[masking.TokenID]bool{}
	for i := range rounds {
		once := made
		once.Key = fmt.Sprint("key ", i)
		var answers [2]control.Answer
		p.atOnce(func(k int, n *control.Plane) (err error) {
			answers[k], err = n.Tokens.Create(context.Background(), "acme", "x", once)
			return err
		})
		if answers[0].Status != 201 || string(answers[0].Body) != string(answers[1].Body) {
			t.Fatalf("round %d: %d %s and %d %s", i, answers[0].Status, answers[0].Body, answers[1].Status, answers[1].Body)
		}
		tokens[masking.TokenID(answers[0].Body)] = true
	}
	p.update(func(ctx context.Context, tx store.Tx) error {
		all, err := tx.Tokens(ctx, "acme")
		if len(all) != rounds || len(tokens) != rounds {
			t.Errorf("%d tokens were made, %d told, by %d requests", len(all), len(tokens), rounds)
		}
		return err
	})
}

func TestARemovalSentToTwoNodesAtOnceIsAnsweredByBothAsTheFirst(t *testing.T) {
	p := newPlanes(t, 2)
	for i := range 20 {
		id := masking.WebhookID(fmt.Sprint("wh_", i))
		p.update(func(ctx context.Context, tx store.Tx) error {
			return tx.InsertWebhook(ctx, storetest.Webhook("acme", id))
		})
		once := done[masking.WebhookID]()
		once.Key = "remove " + string(id)
		once.Refuse = func(e *masking.Error) control.Answer { return control.Answer{Status: 409} }
		p.atOnce(func(_ int, n *control.Plane) error {
			_, err := n.Webhooks.Delete(context.Background(), "acme", id, once)
			return err
		})
	}
}
