package app

import (
	"context"
	"time"
)

// closeWithin is how long a stop may take once no call is up.
const closeWithin = 10 * time.Second

// hangUpAfter sees that a stop waits no longer than closing for a database that is silent,
// and not at all for one that is known to be away: what it could not take lies in the
// journal's spool. off is to be called when all is closed.
func (a *App) hangUpAfter(closing context.Context) (off func()) {
	if a.server == nil {
		return func() {}
	}
	if a.sentry.Away() {
		a.server.HangUp()
	}
	stop := context.AfterFunc(closing, a.server.HangUp)
	return func() { stop() }
}
