package obs

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// NewRegistry makes a metrics registry of its own, so that two servers in one
// process (tests) do not share counters, with the collectors of the Go runtime
// and of the process.
func NewRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	return r
}

// checkTimeout bounds one readiness check. Probes usually give up after one or
// a few seconds; a store that takes longer to say yes cannot serve calls.
const checkTimeout = time.Second

// A Check is one condition for taking new work.
type Check struct {
	Name string // short and fixed, as "store"; shown to whoever asks

	// Ready returns nil when the condition holds. It must return when its
	// context ends. The error is logged, and never shown.
	Ready func(context.Context) error
}

// OpsOptions is what the ops endpoints show.
type OpsOptions struct {
	Metrics prometheus.Gatherer // nil: no /metrics
	Checks  []Check             // none: always ready
	Log     *slog.Logger        // nil: nothing is logged
}

// NewOps makes the handler of the ops address:
//
//	/healthz       200 as long as the process answers; a supervisor restarts on anything else
//	/readyz        200 when all checks hold, else 503 with the names of those that fail
//	/metrics       Prometheus exposition
//	/debug/pprof/  profiles
//
// It asks for no password: the address is for the operator's own network.
// pprof's cmdline is left out, since flags may hold a token.
func NewOps(o OpsOptions) http.Handler {
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { plain(w, http.StatusOK, "ok") })
	mux.Handle("GET /readyz", &readiness{checks: o.Checks, log: log})
	if o.Metrics != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(o.Metrics, promhttp.HandlerOpts{
			ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelError),
			// One broken collector must not take the figures of all others away.
			ErrorHandling: promhttp.ContinueOnError,
		}))
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("POST /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return mux
}

// readiness answers /readyz.
type readiness struct {
	checks []Check
	log    *slog.Logger

	mu   sync.Mutex
	last string // what failed at the last probe, so that only a change is logged
}

// ServeHTTP asks one check after the other: they are few, and a check that
// panics then meets the server's recover and not the whole process.
func (r *readiness) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	var failing []string
	var causes []any
	for _, c := range r.checks {
		ctx, cancel := context.WithTimeout(req.Context(), checkTimeout)
		err := c.Ready(ctx)
		cancel()
		if req.Context().Err() != nil {
			return // whoever asked has gone; their leaving is no failure of ours
		}
		if err != nil {
			failing = append(failing, c.Name)
			causes = append(causes, slog.Any(c.Name, err))
		}
	}
	names := strings.Join(failing, ", ")
	r.note(names, causes)
	if names != "" {
		plain(w, http.StatusServiceUnavailable, "not ready: "+names)
		return
	}
	plain(w, http.StatusOK, "ready")
}

// note logs when the set of failing checks changes. A probe comes every few
// seconds, and a drain lasts an hour.
func (r *readiness) note(names string, causes []any) {
	r.mu.Lock()
	changed := names != r.last
	r.last = names
	r.mu.Unlock()
	switch {
	case !changed:
	case names == "":
		r.log.Info("ready")
	default:
		r.log.Warn("not ready", slog.Group("failing", causes...))
	}
}

func plain(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = fmt.Fprintln(w, text) // a prober that hung up needs no answer
}
