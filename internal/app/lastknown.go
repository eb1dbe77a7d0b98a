package app

import (
	"time"

	"tandem/internal/upkeep"
	"tandem/internal/voice/callflow"
)

// What is routed by while the database is away is read so much at a time, so often: some
// 100,000 claims within ten seconds.
const (
	routesAtOnce    = 1000
	readRoutesEvery = 100 * time.Millisecond
)

// openKnown makes the copy of the claims, if the operator wants one. SQLite is never away
// from its node.
func (a *App) openKnown() {
	if longest := a.o.Config.LastKnownRouting; longest > 0 && a.o.Config.SQLitePath() == "" {
		a.known = callflow.NewLastKnown(callflow.LastKnownOptions{Store: a.store, Clock: a.o.Clock, Log: a.log, Longest: longest})
	}
}

// knownJobs keep it up to date.
func (a *App) knownJobs() []upkeep.Job {
	if a.known == nil {
		return nil
	}
	return []upkeep.Job{{Name: "last known routes", Every: readRoutesEvery, Batch: routesAtOnce, Run: a.known.Refresh}}
}

// knownRoutes is how many claims there are in the copy.
func (a *App) knownRoutes() float64 {
	if a.known == nil {
		return 0
	}
	return float64(a.known.Len())
}
