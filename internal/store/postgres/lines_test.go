package postgres

import (
	"context"
	"sync"
	"testing"

	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
	server "tandem/internal/testkit/postgres"
)

// A row that another transaction holds is as good as a server that says nothing.
func TestWhoHangsUpWaitsForNoAnswerAnyMore(t *testing.T) {
	pg := server.Start(t)
	url := pg.URL(migrated(t, pg))
	holds, waits := open(t, Options{URL: url}), open(t, Options{URL: url})
	if err := holds.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		return tx.InsertTenant(ctx, storetest.Tenant(t, "acme"))
	}); err != nil {
		t.Fatal(err)
	}
	rename := func(ctx context.Context, tx store.Tx) error {
		tenant := storetest.Tenant(t, "acme")
		tenant.Name = "another"
		return tx.UpdateTenant(ctx, tenant)
	}
	stuck := make(chan error, 1)
	err := holds.Update(t.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := rename(ctx, tx); err != nil {
			return err
		}
		asked := make(chan struct{})
		ask := sync.OnceFunc(func() { close(asked) })
		go func() {
			stuck <- waits.Update(context.Background(), func(ctx context.Context, tx store.Tx) error {
				if _, err := tx.Tenant(ctx, "acme"); err != nil {
					return err
				}
				ask()
				return rename(ctx, tx)
			})
		}()
		<-asked
		waits.HangUp()
		if err := <-stuck; err == nil || masking.KindOf(err) != "" {
			t.Errorf("who waited was told %v", err)
		}
		return waits.Close()
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := waits.Ready(t.Context()); err == nil {
		t.Error("it connects again")
	}
}
