package upkeep

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"tandem/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAJobGoesOnWhileItFindsFullBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []time.Duration
		began := time.Now()
		left := 25
		k := Start(slog.New(slog.DiscardHandler), Job{Name: "j", Every: time.Minute, Batch: 10,
			Run: func(_ context.Context, batch int) (int, error) {
				asked = append(asked, time.Since(began))
				done := min(batch, left)
				left -= done
				return done, nil
			}})
		time.Sleep(2*time.Minute + time.Second)
		k.Stop()
		want := []time.Duration{time.Minute, time.Minute, time.Minute, 2 * time.Minute}
		if len(asked) != len(want) {
			t.Fatalf("asked at %v, want %v", asked, want)
		}
		for i := range want {
			if asked[i] != want[i] {
				t.Fatalf("asked at %v, want %v", asked, want)
			}
		}
	})
}

func TestAFailingJobIsTriedAgainAtItsTimeAndHurtsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := 0, 0
		k := Start(slog.New(slog.DiscardHandler),
			Job{Name: "bad", Every: time.Second, Batch: 1, Run: func(context.Context, int) (int, error) {
				bad++
				return 1, errors.New("away")
			}},
			Job{Name: "good", Every: time.Second, Batch: 1, Run: func(context.Context, int) (int, error) {
				good++
				return 0, nil
			}})
		time.Sleep(3500 * time.Millisecond)
		k.Stop()
		if bad != 3 || good != 3 {
			t.Fatalf("bad ran %d times, good %d; want 3 and 3", bad, good)
		}
	})
}

func TestStopWaitsForTheWorkUnderWay(t *testing.T) {
	began, finished := make(chan struct{}), false
	k := Start(slog.New(slog.DiscardHandler), Job{Name: "j", Every: time.Millisecond, Batch: 1,
		Run: func(ctx context.Context, _ int) (int, error) {
			close(began)
			<-ctx.Done()
			finished = true
			return 0, ctx.Err()
		}})
	<-began
	k.Stop()
	if !finished {
		t.Fatal("stopped before the work ended")
	}
}

// failing runs a job that fails with err for an hour and then works, and gives what it logs.
func failing(t *testing.T, err error) (said string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var away atomic.Bool
		away.Store(true)
		k := Start(slog.New(slog.NewTextHandler(&log, nil)), Job{Name: "j", Every: time.Second, Batch: 1,
			Run: func(context.Context, int) (int, error) {
				if away.Load() {
					return 0, err
				}
				return 0, nil
			}})
		<-time.After(time.Hour + time.Millisecond)
		synctest.Wait()
		away.Store(false)
		<-time.After(time.Minute)
		k.Stop()
		said = log.String()
	})
	return said
}

func TestAJobThatFailsForLongSaysSoOnceAndOnceThatItWorksAgain(t *testing.T) {
	if said := failing(t, errors.New("away")); strings.Count(said, "\n") != 2 {
		t.Errorf("%.500s", said)
	}
}

func TestAJobSaysNothingOfADatabaseThatIsKnownToBeAway(t *testing.T) {
	if said := failing(t, fmt.Errorf("not now: %w", store.ErrAway)); said != "" {
		t.Errorf("%.500s", said)
	}
}
