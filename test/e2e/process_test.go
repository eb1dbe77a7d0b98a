package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tandem/internal/app"
	"tandem/internal/client"
	"tandem/internal/testkit/contract"
	"tandem/internal/voice/phone"
	"tandem/internal/voice/sdp"
	"tandem/test/world"
)

// TestTheProgramAsAProcess holds what only the real program can show: signals,
// exit codes, sudden death, descriptors. It is built once.
func TestTheProgramAsAProcess(t *testing.T) {
	binary := build(t)
	for name, test := range map[string]func(*testing.T, *site){
		"what was acknowledged outlives a kill, whole":           acknowledgedOutlivesKill,
		"webhooks outlive a kill in order, once or under one id": webhooksOutliveKill,
		"calls that a kill has cut are closed once as node_lost": cutCallsAreClosedOnce,
		"a hundred calls go on after a kill":                     hundredCallsGoOn,
		"calls by SRTP go on after a kill under fresh streams":   protectedCallsGoOn,
		"accidents of a restart cost no other call":              accidentsOfARestart,
		"calls that nobody knows of any more end":                callsThatNobodyMissesEnd,
		"the first signal lets calls go on and takes no new":     firstSignalDrains,
		"a terminal that is closed ends no talk":                 closedTerminalEndsNoTalk,
		"the second signal hangs up":                             secondSignalHangsUp,
		"a folder in use is refused in one line":                 folderInUseIsRefused,
		"all faults of the settings are told at once":            faultsAreToldAtOnce,
		"a hundred calls leave nothing open":                     callsLeaveNothingOpen,
		"a recording outlives a kill but for seconds":            recordingOutlivesKill,
		"a kill leaves no recording that runs for ever":          killLeavesNoRecordingRunning,
		"a recording is whole after the second signal":           recordingOutlivesShutdown,
		"gossip on one leg reaches nobody on the other":          gossipReachesNobody,
		"a flood hurts no call and costs no memory":              floodHurtsNobody,
		"an erasure outlives kills and leaves no byte":           erasureOutlivesKill,
		"a full disk costs recordings and nothing else":          fullDiskCostsRecordings,
		"a kill while the database is away loses no record":      killWithoutDatabaseLosesNothing,
		"a backup has what was acknowledged before it":           backupHasWhatWasAcknowledged,
		"a copy goes on after kills":                             copyOutlivesKills,
	} {
		t.Run(name, func(t *testing.T) { test(t, newSite(t, binary)) })
	}
}

// build builds the program.
func build(t *testing.T) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "tandem")
	if out, err := exec.Command("go", "build", "-o", binary, "tandem/cmd/tandem").CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return binary
}

// site is a data folder and those who use the server on it, which comes and goes.
type site struct {
	t       *testing.T
	ctx     context.Context
	binary  string
	dir     string
	environ []string // more settings
	web     *http.Client
	tenant  client.Credentials
	api     *client.Client // of the server that runs now
}

func newSite(t *testing.T, binary string) *site {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute+time.Duration(*kills)*5*time.Second)
	t.Cleanup(cancel)
	document, err := contract.API()
	if err != nil {
		t.Fatal(err)
	}
	transport := document.Watch(&http.Transport{MaxIdleConnsPerHost: 64}, func(wrong error) { t.Error(wrong) })
	s := &site{t: t, ctx: ctx, binary: binary, dir: t.TempDir(), web: &http.Client{Timeout: 30 * time.Second, Transport: transport}}
	t.Cleanup(s.web.CloseIdleConnections)
	return s
}

// process is a running server.
type process struct {
	*exec.Cmd
	s        *site
	addrs    app.Addresses
	out, err *world.Log
	ended    chan struct{} // closed once it is over
}

// command prepares a server on the site's folder.
func (s *site) command(environ ...string) *process {
	p := &process{Cmd: exec.CommandContext(s.ctx, s.binary, "serve"), s: s, out: &world.Log{}, err: &world.Log{}, ended: make(chan struct{})}
	p.Env = append([]string{"TANDEM_DATA_DIR=" + s.dir, "TANDEM_HTTP_LISTEN=127.0.0.1:0", "TANDEM_OPS_LISTEN=127.0.0.1:0",
		"TANDEM_SIP_LISTEN=udp://127.0.0.1:0,tcp://127.0.0.1:0", "TANDEM_MEDIA_PORTS=0", "TANDEM_LOG_LEVEL=debug"}, environ...)
	p.Stdout, p.Stderr = p.out, p.err
	return p
}

// launch starts it and collects its end.
func (p *process) launch() {
	p.s.t.Helper()
	p.s.must(p.Start())
	go func() {
		defer close(p.ended)
		_ = p.Wait() // ProcessState tells
	}()
	p.s.t.Cleanup(func() {
		_ = p.Process.Kill() // may have ended long ago
		<-p.ended
		if p.s.t.Failed() {
			p.s.t.Logf("process %d: %v\n%s\n%.20000s", p.Process.Pid, p.ProcessState, p.err, p.out.Lines(`"level":"`))
		}
	})
}

// start starts a server and waits until it listens. The first one on a site
// makes the tenant.
func (s *site) start() *process {
	s.t.Helper()
	file := filepath.Join(s.dir, "addresses.json")
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err) // that of a server that was killed would be taken for the new one's
	}
	p := s.command(s.environ...)
	p.launch()
	s.wait("addresses.json", func() bool {
		select {
		case <-p.ended:
			s.t.Fatalf("the server did not start: %v", p.ProcessState)
		default:
		}
		b, err := os.ReadFile(file)
		return err == nil && json.Unmarshal(b, &p.addrs) == nil
	})
	admin, err := os.ReadFile(filepath.Join(s.dir, "admin.token"))
	s.must(err)
	o := client.Options{BaseURL: "http://" + p.addrs.HTTP, AdminToken: strings.TrimSpace(string(admin)), HTTP: s.web,
		AccountSID: s.tenant.AccountSID, Token: s.tenant.Token}
	if o.Token == "" {
		operator, err := client.New(o)
		s.must(err)
		s.tenant, err = operator.CreateTenant(s.ctx, client.NewTenant{TenantID: "acme",
			TenantChange: client.TenantChange{RateLimit: &client.RateLimit{PerSecond: 100000, Burst: 100000}}})
		s.must(err)
		o.AccountSID, o.Token = s.tenant.AccountSID, s.tenant.Token
	}
	s.api, err = client.New(o)
	s.must(err)
	return p
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// wait waits until something holds that no event tells of.
func (s *site) wait(what string, holds func() bool) {
	s.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-s.ctx.Done():
			s.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// over waits for the end of a process and gives its exit code, -1 for a signal.
func (p *process) over() int {
	p.s.t.Helper()
	select {
	case <-p.ended:
	case <-p.s.ctx.Done():
		p.s.t.Fatal("the process does not end")
	}
	return p.ProcessState.ExitCode()
}

func (p *process) kill() {
	p.s.t.Helper()
	p.s.must(p.Process.Kill())
	p.over()
}

func (p *process) terminate() {
	p.s.t.Helper()
	p.s.must(p.Process.Signal(syscall.SIGTERM))
}

// sip is the UDP address of SIP.
func (p *process) sip() netip.AddrPort {
	for _, a := range p.addrs.SIP {
		if rest, ok := strings.CutPrefix(a, "udp://"); ok {
			return netip.MustParseAddrPort(rest)
		}
	}
	return netip.AddrPort{}
}

// carriers are two phones: one that calls in, one that is called.
type carriers struct {
	s        *site
	in, out  *phone.Phone
	incoming chan *phone.Call
}

// connect makes the carriers, their trunk, and a shared virtual number.
func (s *site) connect(p *process) *carriers {
	s.t.Helper()
	return s.connectBy(p, "off", sdp.Plain)
}

// connectBy lets media be protected as the trunk and its phones say.
func (s *site) connectBy(p *process, trunk string, phones sdp.Profile) *carriers {
	s.t.Helper()
	c := &carriers{s: s, incoming: make(chan *phone.Call, 64)}
	c.in = c.phone(netip.MustParseAddr("127.0.0.4"), phones)
	c.out = c.phone(netip.MustParseAddr("127.0.0.5"), phones)
	country := "IN"
	_, err := s.api.CreateTrunk(s.ctx, client.NewTrunk{Name: "carrier", TrunkSettings: client.TrunkSettings{Country: &country, SRTP: &trunk,
		Sources: []string{"127.0.0.4/31"}, Targets: []string{c.out.Addr().String()}}})
	s.must(err)
	_, err = s.api.AddNumbers(s.ctx, "acme", []client.NewNumber{{Number: virtual, Sharing: "shared"}})
	s.must(err)
	c.known(p)
	return c
}

func (c *carriers) phone(ip netip.Addr, media sdp.Profile) *phone.Phone {
	c.s.t.Helper()
	p, err := phone.New(phone.Options{IP: ip, SRTP: media, OnCall: world.HandTo(c.s.ctx, c.incoming)})
	c.s.must(err)
	c.s.t.Cleanup(func() {
		if err := p.Close(); err != nil {
			c.s.t.Error(err)
		}
	})
	return p
}

// known waits until the server speaks with the carrier, and gives its answer to
// OPTIONS.
func (c *carriers) known(p *process) *phone.Response {
	c.s.t.Helper()
	res, err := c.in.Ask(c.s.ctx, phone.Outside{Request: phone.Request{Method: "OPTIONS"}, Via: p.sip()})
	c.s.must(err)
	return res
}

// pair allocates the i-th pair of people and gives the one who calls.
func (c *carriers) pair(i int) (caller string) {
	c.s.t.Helper()
	return c.allocate(i, false)
}

// recordedPair is a pair whose calls are recorded.
func (c *carriers) recordedPair(i int) (caller string) {
	c.s.t.Helper()
	return c.allocate(i, true)
}

func (c *carriers) allocate(i int, record bool) (caller string) {
	c.s.t.Helper()
	caller = fmt.Sprintf("+91990000%04d", i)
	_, err := c.s.api.CreateAllocation(c.s.ctx, "acme", client.NewAllocation{CallerIDNumber: virtual,
		From: []string{caller}, To: []string{fmt.Sprintf("+91880000%04d", i)}, Record: record})
	c.s.must(err)
	return caller
}

func (c *carriers) dial(p *process, caller string, audio phone.Source) *phone.Call {
	c.s.t.Helper()
	call, err := c.in.Dial(c.s.ctx, phone.Invite{From: caller, To: virtual, Via: p.sip(), Audio: audio})
	c.s.must(err)
	return call
}

func (c *carriers) called() *phone.Call {
	c.s.t.Helper()
	select {
	case call := <-c.incoming:
		return call
	case <-c.s.ctx.Done():
		c.s.t.Fatal("nobody was called")
		return nil
	}
}

// talk sets a call up in which both sides say a tone.
func (c *carriers) talk(p *process, caller string) (a, b *phone.Call) {
	c.s.t.Helper()
	a = c.dial(p, caller, phone.Sine(440, 8000))
	b = c.called()
	c.s.must(b.Ring(phone.Reply{}))
	c.s.must(b.Answer(phone.Reply{Audio: phone.Sine(1000, 8000)}))
	c.s.must(a.Answered(c.s.ctx))
	c.s.must(b.Answered(c.s.ctx))
	return a, b
}

// calls are all call records; events all events of calls; everything all events.
func (s *site) calls() []client.CallRecord {
	s.t.Helper()
	var all []client.CallRecord
	for cursor := ""; ; {
		page, err := s.api.Calls(s.ctx, "acme", client.CallFilter{Page: client.Page{Limit: 100, Cursor: cursor}})
		s.must(err)
		all = append(all, page.Items...)
		if cursor = page.NextCursor; cursor == "" {
			return all
		}
	}
}

func (s *site) events() []client.Event {
	s.t.Helper()
	return slices.DeleteFunc(s.everything(), func(e client.Event) bool { return !strings.HasPrefix(e.Type, "call.") })
}

func (s *site) everything() []client.Event {
	s.t.Helper()
	var all []client.Event
	for cursor := ""; ; {
		page, err := s.api.Events(s.ctx, "acme", client.EventFilter{Page: client.Page{Limit: 100, Cursor: cursor}})
		s.must(err)
		if len(page.Items) == 0 {
			return all
		}
		all = append(all, page.Items...)
		cursor = page.NextCursor
	}
}

func firstSignalDrains(t *testing.T, s *site) {
	p := s.start()
	c := s.connect(p)
	talker := c.pair(1)
	late := c.pair(2)
	a, b := c.talk(p, talker)
	p.terminate()
	s.wait("OPTIONS to be refused", func() bool { return c.known(p).Status == 503 })
	refused := c.dial(p, late, nil)
	if end, err := refused.Ended(s.ctx); err != nil || end.Status != 503 {
		t.Errorf("a new call: %+v, %v", end, err)
	}
	if !saysWhenToComeBack(refused) {
		t.Error("the refusal does not say when to come back")
	}
	var problem *client.Error
	_, err := s.api.CreateAllocation(s.ctx, "acme", client.NewAllocation{CallerIDNumber: virtual, From: []string{alice}, To: []string{bob}})
	if !errors.As(err, &problem) || problem.Status != 503 || problem.RetryAfter <= 0 {
		t.Errorf("a new allocation: %v", err)
	}
	s.must(a.HearsTone(s.ctx, 1000))
	s.must(b.HearsTone(s.ctx, 440))
	s.must(a.Hangup(s.ctx))
	if code := p.over(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := b.Ended(s.ctx); err != nil {
		t.Error(err)
	}
	s.start()
	s.ended(map[string]int{"caller_hung_up": 1})
}

func saysWhenToComeBack(c *phone.Call) bool {
	for _, step := range c.Ladder() {
		if bytes.HasPrefix(step.Raw, []byte("SIP/2.0 503 ")) && bytes.Contains(step.Raw, []byte("\r\nRetry-After: ")) {
			return true
		}
	}
	return false
}

func closedTerminalEndsNoTalk(t *testing.T, s *site) {
	p := s.start()
	c := s.connect(p)
	talker, later := c.pair(1), c.pair(2)
	a, b := c.talk(p, talker)
	s.must(p.Process.Signal(syscall.SIGHUP))
	next, _ := c.talk(p, later)
	s.must(a.HearsTone(s.ctx, 1000))
	s.must(b.HearsTone(s.ctx, 440))
	s.must(a.Hangup(s.ctx))
	s.must(next.Hangup(s.ctx))
	p.terminate()
	if code := p.over(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func secondSignalHangsUp(t *testing.T, s *site) {
	p := s.start()
	c := s.connect(p)
	talker := c.pair(1)
	waiter := c.pair(2)
	a, b := c.talk(p, talker)
	ringing := c.dial(p, waiter, nil)
	far := c.called()
	s.must(far.Ring(phone.Reply{}))
	s.must(ringing.Ringing(s.ctx))
	p.terminate()
	s.wait("OPTIONS to be refused", func() bool { return c.known(p).Status == 503 })
	p.terminate()
	for side, call := range map[string]*phone.Call{"caller": a, "callee": b, "waiting caller": ringing, "ringing callee": far} {
		if end, err := call.Ended(s.ctx); err != nil || end.ByUs || end.Err != nil {
			t.Errorf("%s: %+v, %v", side, end, err)
		}
	}
	if code := p.over(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	s.start()
	s.ended(map[string]int{"shutdown": 2})
}

// ended holds the causes of all calls against those given.
func (s *site) ended(causes map[string]int) {
	s.t.Helper()
	if got := s.closedOnce(); !maps.Equal(got, causes) {
		s.t.Errorf("causes %v, want %v", got, causes)
	}
}

// closedOnce checks that every call has ended, was told of as ended once, and is
// counted once by its allocation. It counts the causes.
func (s *site) closedOnce() (causes map[string]int) {
	s.t.Helper()
	causes = map[string]int{}
	of, counted := map[string]int{}, map[string]int{}
	told := map[string]map[string]int{} // by call and type of event
	for _, e := range s.events() {
		if told[e.CallSID] == nil {
			told[e.CallSID] = map[string]int{}
		}
		told[e.CallSID][e.Type]++
	}
	for _, c := range s.calls() {
		causes[c.Cause]++
		if c.GreenVNID != "" {
			of[c.GreenVNID]++
		}
		n := told[c.CallSID]
		if c.Status != "ended" || c.EndTime == "" || n["call.completed"]+n["call.rejected"] != 1 || n["call.ringing"] > 1 || n["call.answered"] > 1 {
			s.t.Errorf("call %s is %s (%s); events: %v", c.CallSID, c.Status, c.Cause, n)
		}
		delete(told, c.CallSID)
	}
	if len(told) > 0 {
		s.t.Errorf("events of calls without a record: %v", told)
	}
	for _, a := range s.active() {
		if a.CallCount > 0 {
			counted[a.GreenVNID] = int(a.CallCount)
		}
	}
	if !maps.Equal(of, counted) {
		s.t.Errorf("records by allocation %v, call_count %v", of, counted)
	}
	return causes
}

// told counts the events of a type.
func (s *site) told(typ string) int {
	s.t.Helper()
	return len(slices.DeleteFunc(s.events(), func(e client.Event) bool { return e.Type != typ }))
}

func folderInUseIsRefused(t *testing.T, s *site) {
	p := s.start()
	second := s.command()
	second.launch()
	if code := second.over(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if said := second.err.String(); strings.Count(said, "\n") != 1 || !strings.Contains(said, "in use by another tandem") || second.out.String() != "" {
		t.Errorf("said %q, logged %q", said, second.out)
	}
	if _, err := s.api.Numbers(s.ctx, "acme", client.Page{}); err != nil {
		t.Errorf("the first server was disturbed: %v", err)
	}
	p.terminate()
	if code := p.over(); code != 0 {
		t.Errorf("exit code %d of an idle server", code)
	}
}

func faultsAreToldAtOnce(t *testing.T, s *site) {
	p := s.command("TANDEM_HTTP_LISTEN=everywhere", "TANDEM_MEDIA_PORTS=9-3", "TANDEM_DRAIN_SECONDS=soon", "TANDEM_LOG_LEVEL=loud")
	p.launch()
	if code := p.over(); code != 2 {
		t.Errorf("exit code %d", code)
	}
	for _, name := range []string{"TANDEM_HTTP_LISTEN", "TANDEM_MEDIA_PORTS", "TANDEM_DRAIN_SECONDS", "TANDEM_LOG_LEVEL"} {
		if !strings.Contains(p.err.String(), name) {
			t.Errorf("nothing of %s in %q", name, p.err)
		}
	}
	if left, err := os.ReadDir(s.dir); err != nil || len(left) != 0 {
		t.Errorf("a server that never was has left %v, %v", left, err)
	}
}

func callsLeaveNothingOpen(t *testing.T, s *site) {
	p := s.start()
	c := s.connect(p)
	const first, more = 12, 100
	c.exchange(p, 0, first) // what is made once and kept: database connections, buffers
	s.wait("the end of the first calls", func() bool { return s.told("call.completed") == first })
	fds, goroutines := p.open()
	c.exchange(p, first, more)
	s.wait("descriptors and goroutines to be as before", func() bool {
		f, g := p.open()
		return f <= fds && g <= goroutines
	})
	s.wait("the end of all calls", func() bool { return s.told("call.completed") == first+more })
	s.ended(map[string]int{"caller_hung_up": first + more})
	t.Logf("%d descriptors and %d goroutines before and after", fds, goroutines)
}

// exchange places n calls of different people, four at a time.
func (c *carriers) exchange(p *process, first, n int) {
	c.s.t.Helper()
	callers := make(chan string, n)
	for i := range n {
		callers <- c.pair(first + i)
	}
	close(callers)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			select {
			case b := <-c.incoming:
				if err := errors.Join(b.Ring(phone.Reply{}), b.Answer(phone.Reply{Audio: phone.Sine(1000, 8000)})); err != nil {
					c.s.t.Error(err)
				}
			case <-c.s.ctx.Done():
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			for caller := range callers {
				if err := c.callBriefly(p, caller); err != nil {
					c.s.t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func (c *carriers) callBriefly(p *process, caller string) error {
	call, err := c.in.Dial(c.s.ctx, phone.Invite{From: caller, To: virtual, Via: p.sip(), Audio: phone.Sine(440, 8000)})
	if err != nil {
		return err
	}
	if err := call.Answered(c.s.ctx); err != nil {
		return err
	}
	if err := call.Hears(c.s.ctx, phone.Rate/10); err != nil {
		return err
	}
	if err := call.Hangup(c.s.ctx); err != nil {
		return err
	}
	_, err = call.Ended(c.s.ctx)
	return err
}

// open counts the process's descriptors and goroutines, without those of being asked.
func (p *process) open() (fds, goroutines int) {
	p.s.t.Helper()
	p.s.web.CloseIdleConnections()
	res, err := p.s.web.Get("http://" + p.addrs.Ops + "/debug/pprof/goroutine?debug=1")
	p.s.must(err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	p.s.must(err)
	first, _, _ := strings.Cut(string(text), "\n")
	goroutines, err = strconv.Atoi(strings.TrimPrefix(first, "goroutine profile: total "))
	p.s.must(err)
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.Process.Pid))
	p.s.must(err)
	return len(list), goroutines
}
