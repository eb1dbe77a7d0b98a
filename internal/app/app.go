// Package app is the composition root: it makes every part of a server from the
// settings, starts them in order and stops them in the opposite one. The program
// and the tests start the same; only this package knows all others.
package app

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"tandem/internal/backlog"
	"tandem/internal/config"
	"tandem/internal/control"
	"tandem/internal/masking"
	"tandem/internal/obs"
	"tandem/internal/quota"
	"tandem/internal/seal"
	"tandem/internal/store"
	"tandem/internal/store/postgres"
	"tandem/internal/store/sentry"
	"tandem/internal/store/sqlite"
	"tandem/internal/store/sqlstore"
	"tandem/internal/transfer"
	"tandem/internal/upkeep"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/callflow"
	"tandem/internal/voice/hep"
	"tandem/internal/voice/locate"
	"tandem/internal/voice/prompt"
	"tandem/internal/voice/record"
	"tandem/internal/voice/relay"
	"tandem/internal/voice/siptx"
	"tandem/internal/voice/sipua"
	"tandem/internal/web/api"
	"tandem/internal/webhook"
)

// Options are what a server is made of. Config and Log are required.
type Options struct {
	Config  config.Config
	Log     *slog.Logger
	Version string

	// For tests.
	Clock        func() time.Time   // nil = time.Now
	SIPTimers    siptx.Timers       // zero = RFC 3261's
	SIPSecond    time.Duration      // of Session-Expires; 0 = 1 s
	CallWaits    b2bua.Timing       // zero = as b2bua.Timing says
	WebhookWaits []time.Duration    // between attempts; nil = masking.RetryWaits
	Lookups      locate.Timing      // of names in DNS; zero = its own
	Trace        func(siptx.Traced) // sees every SIP message; nil = none
}

// Addresses are where a server listens, as addresses.json tells them.
type Addresses struct {
	HTTP string   `json:"http"`
	Ops  string   `json:"ops"`
	SIP  []string `json:"sip"`
}

// App is a running server.
type App struct {
	o        Options
	log      *slog.Logger
	addrs    Addresses
	admin    string
	newAdmin bool
	undo     []func(ctx context.Context) error // in the order of starting
	leaving  chan struct{}                     // closed by leave when Stop begins
	leave    func()

	store    store.Store
	gate     *sentry.Gate    // the same
	server   *postgres.Store // behind sentry, behind gate; nil on SQLite
	sentry   *sentry.Sentry
	spool    *backlog.Queue // of the journal
	journal  *callflow.Journal
	known    *callflow.LastKnown // nil = none
	director *callflow.Director
	relay    *relay.Engine
	exchange *b2bua.Exchange
	agent    *sipua.Agent
	ladders  *sipua.Ladders
	export   *hep.Exporter // nil = none
	plane    *control.Plane
	recorder *record.Recorder
	media    media
	sounds   sounds
	library  *prompt.Library
	own      *ownPrompts
	trunks   vault // of the trunks' passwords
	hooks    vault // of what signs for endpoints
	node     string
	folder   *os.File                  // its lock
	presence *upkeep.Presence          // among the nodes of the database
	starting *upkeep.Keeper            // gives signs of life until keeper does
	roll     *rollCall                 // of silent nodes; owned by mindLost
	unsure   map[masking.CallID]unsure // owned by mindLost
	missed   bool                      // the others had heard nothing of this node, and what that means is not known yet; owned by beat
	keeper   *upkeep.Keeper
	quota    *quota.Quota // bounds of calls that nodes share
	sleepers sleepers

	deliverer *webhook.Deliverer
	metrics   *metrics
	certs     *certificates // nil without SIP over TLS
}

// Start makes a server and returns when everything listens, or tells in one line
// what to mend; then nothing is left running.
func Start(ctx context.Context, o Options) (_ *App, err error) {
	if o.Clock == nil {
		o.Clock = time.Now
	}
	a := &App{o: o, log: o.Log, leaving: make(chan struct{}), unsure: map[masking.CallID]unsure{}, sleepers: newSleepers()}
	a.leave = sync.OnceFunc(func() { close(a.leaving) })
	defer func() {
		if err != nil {
			err = errors.Join(err, a.unwind(context.Background()))
		}
	}()
	for _, step := range []func(context.Context) error{a.openFolder, a.openStore, a.openVoice, a.openWebhooks, a.openControl, a.openHTTP, a.openUpkeep} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	addresses, err := json.Marshal(a.addrs)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(o.Config.DataDir, addressesFile)
	if err := writeFile(path, string(addresses)+"\n", 0o644); err != nil {
		return nil, fmt.Errorf("data folder: %w", err)
	}
	a.onStop(func(context.Context) error { return os.Remove(path) })
	a.log.Info("tandem is up", "node", a.node, "http", a.addrs.HTTP, "ops", a.addrs.Ops, "sip", a.addrs.SIP, "version", o.Version)
	return a, nil
}

// Addrs are the addresses in use.
func (a *App) Addrs() Addresses { return a.addrs }

// AdminToken is the operator's token; fresh if this start made it.
func (a *App) AdminToken() (token string, fresh bool) { return a.admin, a.newAdmin }

// LiveCalls is how many calls are up.
func (a *App) LiveCalls() int { return a.exchange.Live() }

// Leftovers are what calls may leave behind for a moment and never for good.
type Leftovers struct {
	Calls, Legs, Sessions, Entries int // calls, SIP legs, media sessions, record entries not yet written
	Recordings                     int // running or not yet stored
}

// Leftovers counts them; all are zero when no call is up and all is written.
func (a *App) Leftovers() Leftovers {
	return Leftovers{a.exchange.Live(), a.agent.Legs(), a.relay.Stats().Sessions, a.journal.Waiting(),
		a.recorder.Stats().Running + a.recorder.Stats().Waiting}
}

// DroppedSources is how many SIP packets and connections of strangers were dropped.
func (a *App) DroppedSources() uint64 { return a.agent.Stats().DroppedSource }

// Stop refuses new calls at once and lets those that are up go on until ctx is
// done; then it hangs up. Everything is closed when it returns.
func (a *App) Stop(ctx context.Context) error {
	a.leave()
	ended := make(chan struct{})
	go func() { // beside the calls, which may go on for long
		defer close(ended)
		a.agent.Drain()
	}()
	a.exchange.Drain(ctx)
	<-ended
	closing, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	defer a.hangUpAfter(closing)()
	return a.unwind(closing)
}

// unwind undoes what has been started, the last first.
func (a *App) unwind(ctx context.Context) error {
	var errs []error
	for i := len(a.undo) - 1; i >= 0; i-- {
		errs = append(errs, a.undo[i](ctx))
	}
	a.undo = nil
	return errors.Join(errs...)
}

func (a *App) onStop(f func(ctx context.Context) error) { a.undo = append(a.undo, f) }

func (a *App) openFolder(context.Context) error {
	lock, err := lockFolder(a.o.Config.DataDir)
	if err != nil {
		return err
	}
	a.folder = lock
	a.onStop(func(context.Context) error { return lock.Close() })
	// What a killed server left would send a script that waits for the file to
	// ports that are somebody else's now.
	if err := os.Remove(filepath.Join(a.o.Config.DataDir, addressesFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("data folder: %w", err)
	}
	a.admin = a.o.Config.AdminToken.Reveal()
	if a.admin != "" {
		return nil
	}
	a.admin, a.newAdmin, err = secretFile(filepath.Join(a.o.Config.DataDir, adminFile), func() string { return "tda_" + randomHex(32) })
	if err != nil {
		return fmt.Errorf("admin token: %w", err)
	}
	return nil
}

func (a *App) openStore(ctx context.Context) error {
	s, err := openEngine(ctx, a.o.Config, a.log, sqlstore.Opening{Wake: a.sleepers.wake})
	if err != nil {
		return fmt.Errorf("database: %w", err)
	}
	if server, ok := s.(*postgres.Store); ok {
		a.server, a.sentry = server, sentry.New(sentry.Options{Store: s, Log: a.log})
		s = a.sentry
	}
	a.gate = sentry.NewGate(s)
	a.store = a.gate
	a.onStop(func(context.Context) error { return s.Close() })
	if err := transfer.Serves(ctx, s); err != nil {
		return fmt.Errorf("database: %w", err)
	}
	return a.checkMasterKey(ctx)
}

// openEngine opens the engine that the settings name.
func openEngine(ctx context.Context, c config.Config, log *slog.Logger, o sqlstore.Opening) (store.Store, error) {
	if path := c.SQLitePath(); path != "" {
		return sqlite.Open(ctx, sqlite.Options{Path: path, Log: log, Opening: o})
	}
	if !c.DatabaseNotify {
		o.Wake = nil
	}
	return postgres.Open(ctx, postgres.Options{URL: c.PostgresURL().Reveal(), Log: log, Opening: o})
}

// openVoice starts the voice plane: records first, sockets last, so that the
// first INVITE finds everything in place.
func (a *App) openVoice(ctx context.Context) error {
	dir := a.o.Config.DataDir
	node, _, err := secretFile(filepath.Join(dir, nodeFile), func() string { return "node-" + randomHex(4) })
	if err != nil {
		return fmt.Errorf("node id: %w", err)
	}
	a.node = node
	if err := a.join(ctx); err != nil {
		return fmt.Errorf("node: %w", err)
	}
	a.openQuota()
	key, err := a.key("numbers in logs")
	if err != nil {
		return err
	}
	if a.trunks.box, err = a.box("trunk passwords"); err != nil {
		return err
	}
	if err := a.openJournal(); err != nil {
		return err
	}
	ask := webhook.NewAsker(webhook.AskerOptions{AllowPrivate: a.o.Config.WebhookAllowPrivate, Secret: a.strangerSecret})
	a.onStop(func(context.Context) error { ask.Close(); return nil })
	a.openKnown()
	a.director = callflow.NewDirector(callflow.DirectorOptions{Store: a.store, Journal: a.journal, Clock: a.o.Clock, Log: a.log,
		Key: key, Asker: ask, Quota: a.quota, Known: a.known})
	if err := a.openMedia(ctx); err != nil {
		return err
	}
	if err := a.openExport(key); err != nil {
		return err
	}
	registry := obs.NewRegistry()
	a.metrics = newMetrics(registry)
	a.media = media{a.relay, a.library, a.recorder}
	a.exchange = b2bua.New(b2bua.Options{Director: countingDirector{a.director, a.metrics}, Journal: countingJournal{a.journal, a.metrics, a.o.Clock},
		Trunks: outgoing{a}, Media: a.media, Log: a.log, Node: node, Clock: a.o.Clock, Timing: a.o.CallWaits})
	if a.certs, err = openCertificates(a.o.Config, a.log); err != nil {
		return err
	}
	a.agent, err = sipua.New(sipua.Options{Log: a.log, Clock: a.o.Clock, NewCallID: a.newCallID, OnInvite: a.exchange.Incoming,
		Draining: a.exchange.Draining, Node: node, Advertise: a.o.Config.SIPAdvertise, Timers: a.o.SIPTimers, Second: a.o.SIPSecond, Trace: a.o.Trace, Ladders: a.ladders,
		Credentials: a.certs.credentials(), Password: a.trunks.password, Export: a.exporting(),
		Find: locate.NewResolver(a.o.Config.DNSServers).Find, Lookups: a.o.Lookups, Quota: a.quota})
	if err != nil {
		return err
	}
	a.onStop(a.agent.Close)
	a.roll = newRollCall(a.agent)
	a.register(registry)
	if err := a.ReloadTrunks(ctx); err != nil {
		return fmt.Errorf("trunks: %w", err)
	}
	if err := a.resume(ctx); err != nil {
		return err
	}
	if err := a.closeLostRecordings(ctx, node); err != nil {
		return err
	}
	if _, err := a.meet(ctx, 1); err != nil { // so that no request of theirs meets a stranger
		return fmt.Errorf("other nodes: %w", err)
	}
	if err := a.listen(); err != nil {
		return err
	}
	a.agent.Keep()
	a.exchange.Verify()
	return a.openOps(obs.OpsOptions{Metrics: registry, Log: a.log, Checks: []obs.Check{
		{Name: "store", Ready: a.store.Ready},
		{Name: "journal", Ready: func(context.Context) error {
			if a.journal.Behind() {
				return errors.New("there is no room for records of new calls")
			}
			return nil
		}},
		{Name: "accepting", Ready: func(context.Context) error {
			if a.exchange.Draining() {
				return errors.New("draining")
			}
			return nil
		}},
	}})
}

func (a *App) listen() error {
	for _, l := range a.o.Config.SIPListen {
		at, err := a.agent.Listen(l.Network, l.Addr)
		if err != nil {
			return fmt.Errorf("sip %s: %w", l, err)
		}
		a.addrs.SIP = append(a.addrs.SIP, l.Network+"://"+at.String())
	}
	return nil
}

// openMedia starts what moves, says and keeps sound.
func (a *App) openMedia(ctx context.Context) (err error) {
	if a.relay, err = newRelay(a.o.Config, a.log); err != nil {
		return fmt.Errorf("media: %w", err)
	}
	a.onStop(func(context.Context) error { return a.relay.Close() })
	if a.library, err = prompt.Builtin(); err != nil {
		return fmt.Errorf("announcements: %w", err)
	}
	a.own = &ownPrompts{sounds: a.library, store: a.store, log: a.log}
	if err := a.own.reload(ctx); err != nil {
		return fmt.Errorf("announcements: %w", err)
	}
	return a.openRecorder(ctx)
}

func (a *App) key(purpose string) ([]byte, error) {
	path := filepath.Join(a.o.Config.DataDir, masterFile)
	master, _, err := secretFile(path, func() string { return randomHex(32) })
	if err != nil && !errors.Is(err, errEmpty) {
		return nil, fmt.Errorf("master key: %w", err)
	}
	key, err := deriveKey(master, purpose)
	if err != nil {
		return nil, fmt.Errorf("%s is damaged: copy it from another node, or from where it is kept beside the backups", path)
	}
	return key, nil
}

// box seals what is for one purpose.
func (a *App) box(purpose string) (*seal.Box, error) {
	key, err := a.key(purpose)
	if err != nil {
		return nil, err
	}
	return seal.New(key)
}

func (a *App) newCallID() masking.CallID {
	var random [10]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	return masking.CallID(masking.NewID(masking.PrefixCall, a.o.Clock(), random))
}

func (a *App) openControl(context.Context) error {
	key, err := a.key(tokensKey)
	if err != nil {
		return err
	}
	a.plane, err = control.New(control.Options{Store: a.store, Clock: a.o.Clock, Random: rand.Reader, Calls: a.exchange, Log: a.log, TokenKey: key,
		Languages: a.library.Languages(), StrangerSecret: a.strangerSecret, Announcements: announcements{a.library}, Sounds: a.sounds,
		Ladders: a.ladders, TrunkSecrets: a.trunks, WebhookSecrets: a.hooks, Sender: a.deliverer, Routing: routing{a.director, a.agent}, Wake: a.sleepers.followers})
	return err
}

func (a *App) openHTTP(context.Context) error {
	handler, err := api.New(api.Options{Plane: a.plane, AdminToken: a.admin, Clock: a.o.Clock, Random: rand.Reader, Log: a.log,
		Draining: a.exchange.Draining, Leaving: a.leaving, TrunkHealth: func(name string) any { return a.agent.TrunkHealth(name) },
		Observe: a.metrics.observe, Rates: a.openRates(), Version: a.o.Version})
	if err != nil {
		return err
	}
	a.addrs.HTTP, err = a.serve("http", a.o.Config.HTTPListen, handler)
	return err
}

func (a *App) openOps(o obs.OpsOptions) (err error) {
	a.addrs.Ops, err = a.serve("ops", a.o.Config.OpsListen, obs.NewOps(o))
	return err
}

// serve starts one HTTP server. Its time-outs shed clients that are slow on
// purpose; no answer of ours takes a minute.
func (a *App) serve(name, addr string, h http.Handler) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 15 * time.Second,
		WriteTimeout: 60 * time.Second, IdleTimeout: 120 * time.Second, MaxHeaderBytes: 32 << 10,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			a.log.Error("server ended", "server", name, "error", err.Error())
		}
	}()
	a.onStop(func(ctx context.Context) error {
		err := s.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, s.Close())
		}
		<-done
		return err
	})
	return l.Addr().String(), nil
}

// openUpkeep starts the periodic work. Trunks are read anew every second, so
// that a change is live everywhere within two.
func (a *App) openUpkeep(ctx context.Context) error {
	a.starting.Stop()
	if _, err := a.beat(ctx, 1); err != nil { // with the addresses in use
		return fmt.Errorf("node: %w", err)
	}
	a.keeper = upkeep.Start(a.log, append(append(a.deliveryJobs(), a.knownJobs()...),
		upkeep.Job{Name: "trunks", Every: time.Second, Batch: 1, Wake: a.sleepers.trunks, Run: func(ctx context.Context, _ int) (int, error) {
			return 0, a.ReloadTrunks(ctx)
		}},
		upkeep.Job{Name: "certificates", Every: rereadCertificates, Batch: 1, Run: func(context.Context, int) (int, error) {
			return 0, a.ReloadCertificates()
		}},
		upkeep.Job{Name: "sign of life", Every: time.Second, Batch: 1, Run: a.showLife},
		upkeep.Job{Name: "heartbeat", Every: masking.Heartbeat, Batch: 1, Run: a.beat},
		upkeep.Job{Name: "silent nodes", Every: lookEvery, Batch: lostAtOnce, Wake: a.roll.answers, Run: a.mindLost},
		upkeep.Job{Name: "other nodes", Every: time.Second, Batch: 1, Run: a.meet},
		upkeep.Job{Name: "nodes of long ago", Every: time.Minute, Batch: 100, Run: a.forgetNodes},
		upkeep.Job{Name: "expired allocations", Every: time.Second, Batch: 200, Run: a.plane.Allocations.Sweep},
		upkeep.Job{Name: "announcements", Every: time.Second, Batch: 1, Wake: a.sleepers.announcements, Run: func(ctx context.Context, _ int) (int, error) {
			return 0, a.own.reload(ctx)
		}},
		upkeep.Job{Name: "old recordings", Every: time.Minute, Batch: sweptAtOnce, Run: a.plane.Recordings.Sweep},
		upkeep.Job{Name: "old records", Every: time.Minute, Batch: sweptAtOnce, Run: a.plane.Retention.Sweep},
		upkeep.Job{Name: "erasures", Every: time.Second, Batch: 100, Run: a.plane.Erasures.Sweep},
		a.forgetting("wrong PINs of long ago", masking.StrangerForgets, forgottenAtOnce, store.Tx.ForgetTries),
		a.forgetting("paces of long ago", masking.MaxVelocityWindow, forgottenAtOnce, store.Tx.ForgetPaces),
		a.forgetting("rates of who has rested", 0, forgottenAtOnce, store.Tx.ForgetRates),
		a.forgetting("kept answers", store.ReplayFor, forgottenAtOnce, store.Tx.ForgetReplays),
	)...)
	a.onStop(func(context.Context) error { a.keeper.Stop(); return nil })
	return nil
}

// sweptAtOnce is how many old recordings, and how many old records, are removed in one go.
const sweptAtOnce = 100

// forgottenAtOnce is how many rows are removed at once that nothing refers to.
const forgottenAtOnce = 1000

// ReloadTrunks reads the trunks now rather than at the next second.
func (a *App) ReloadTrunks(ctx context.Context) error {
	return a.store.View(ctx, func(ctx context.Context, tx store.Reader) error {
		trunks, err := tx.Trunks(ctx)
		if err == nil {
			a.agent.SetTrunks(trunks)
		}
		return err
	})
}

// SweepRecordings removes now, rather than at the next minute, what its tenants do
// not keep longer. It gives how many sounds it removed.
func (a *App) SweepRecordings(ctx context.Context) (int, error) {
	return a.plane.Recordings.Sweep(ctx, sweptAtOnce)
}

// forgetting is a job that removes what has been kept for long enough, at most batch rows
// at once.
func (a *App) forgetting(name string, kept time.Duration, batch int,
	forget func(tx store.Tx, ctx context.Context, before time.Time, limit int) (int, error)) upkeep.Job {
	return upkeep.Job{Name: name, Every: time.Minute, Batch: batch, Run: func(ctx context.Context, batch int) (n int, err error) {
		err = a.store.Update(ctx, func(ctx context.Context, tx store.Tx) error {
			n, err = forget(tx, ctx, a.o.Clock().Add(-kept), batch)
			return err
		})
		return n, err
	}}
}
