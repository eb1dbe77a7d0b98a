// Package upkeep does periodic work: it writes the end of expired allocations
// and forgets what is kept for a while only. Nothing depends on it being prompt;
// what a call or a request may do is decided by the clock when it comes.
package upkeep

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"tandem/internal/store"
)

// Job is one kind of work. Run does some of it and tells how much; it is run
// again at once while it says that it did as much as it may in one go.
type Job struct {
	Name  string
	Every time.Duration
	Batch int             // how much Run does at the most
	Wake  <-chan struct{} // there may be something to do before that; nil: nobody says so
	Run   func(ctx context.Context, batch int) (done int, err error)
}

// Keeper runs jobs until it is stopped.
type Keeper struct {
	log  *slog.Logger
	stop context.CancelFunc
	wg   sync.WaitGroup
}

// Start runs each job in a goroutine of its own.
func Start(log *slog.Logger, jobs ...Job) *Keeper {
	ctx, stop := context.WithCancel(context.Background())
	k := &Keeper{log: log, stop: stop}
	for _, j := range jobs {
		k.wg.Add(1)
		go func() {
			defer k.wg.Done()
			k.run(ctx, j)
		}()
	}
	return k
}

// Stop ends all jobs and waits for what is under way.
func (k *Keeper) Stop() {
	k.stop()
	k.wg.Wait()
}

func (k *Keeper) run(ctx context.Context, j Job) {
	tick := time.NewTicker(j.Every)
	defer tick.Stop()
	var trouble store.Trouble
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-j.Wake:
		}
		for ctx.Err() == nil {
			done, err := j.Run(ctx, j.Batch)
			k.tell(ctx, j, err, &trouble)
			if err != nil || done < j.Batch {
				break
			}
			k.log.Debug("upkeep goes on", "job", j.Name, "done", done)
		}
	}
}

// tell logs when a job begins to fail and when it works again: a database that is away
// for an hour must not fill the log.
func (k *Keeper) tell(ctx context.Context, j Job, err error, trouble *store.Trouble) {
	switch begins, ends := trouble.After(err); {
	case ctx.Err() != nil:
	case begins:
		k.log.Warn("upkeep failed and will be tried again", "job", j.Name, "error", err.Error())
	case ends:
		k.log.Info("upkeep works again", "job", j.Name)
	}
}
