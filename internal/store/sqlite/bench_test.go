package sqlite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync/atomic"
	"testing"

	"tandem/internal/e164"
	"tandem/internal/masking"
	"tandem/internal/store"
	"tandem/internal/store/storetest"
)

const benchPool = 100

// benchStore is a store with a tenant, a pool of shared numbers and claims.
func benchStore(b *testing.B, o Options, allocations int) *Store {
	b.Helper()
	s := openTemp(b, o)
	err := s.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
		if err := tx.InsertTenant(ctx, storetest.Tenant(b, "acme")); err != nil {
			return err
		}
		for i := range benchPool {
			if err := tx.InsertNumber(ctx, storetest.Number("acme", storetest.Virtual(i), masking.Shared), storetest.Start()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		b.Fatal(err)
	}
	for i := range allocations {
		if err := storetest.Create(b.Context(), s, benchAllocation(i), storetest.Start()); err != nil {
			b.Fatal(err)
		}
	}
	return s
}

func benchPerson(i int) e164.Number { return e164.MustParse(fmt.Sprintf("+9199%08d", i)) }

func benchAllocation(i int) masking.Allocation {
	return storetest.Allocation("acme", storetest.AllocationID(i), storetest.Virtual(i%benchPool),
		[]e164.Number{benchPerson(2 * i)}, []e164.Number{benchPerson(2*i + 1)})
}

// BenchmarkCreate is a durable create by 64 clients at once.
func BenchmarkCreate(b *testing.B) {
	s := benchStore(b, Options{}, 0)
	var next atomic.Int64
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := storetest.Create(b.Context(), s, benchAllocation(int(next.Add(1))), storetest.Start()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkRoute is one routed call.
func BenchmarkRoute(b *testing.B) {
	const allocations = 5000
	s := benchStore(b, Options{Synchronous: Normal}, allocations)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		i := rand.IntN(allocations)
		r, err := s.Route(b.Context(), storetest.Virtual(i%benchPool), benchPerson(2*i))
		if err != nil {
			b.Fatal(err)
		}
		if len(r.Found) != 1 {
			b.Error("nothing found")
		}
	}
}

// BenchmarkCall is what the record of one answered call costs: begin with its
// event, answer with its event, end with its event.
func BenchmarkCall(b *testing.B) {
	s := benchStore(b, Options{}, 1000)
	var next atomic.Int64
	b.SetParallelism(64 / runtime.GOMAXPROCS(0))
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(next.Add(1))
			c := storetest.Call(benchAllocation(i%1000), storetest.CallID(i), benchPerson(2*(i%1000)))
			for _, step := range []func(store.Tx, context.Context, masking.Call) (bool, error){
				store.Tx.BeginCall, store.Tx.AnswerCall, store.Tx.EndCall,
			} {
				err := s.Update(b.Context(), func(ctx context.Context, tx store.Tx) error {
					if _, err := step(tx, ctx, c); err != nil {
						return err
					}
					return tx.AppendEvent(ctx, masking.CallEvent(storetest.EventID(i), masking.EventCallAnswered, c,
						storetest.Start().Location(), storetest.Start()))
				})
				if err != nil {
					b.Error(err)
					return
				}
				c.AnsweredAt, c.EndedAt = storetest.Start(), c.AnsweredAt
			}
		}
	})
}
