package app

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"tandem/internal/ladder"
	"tandem/internal/masking"
	"tandem/internal/voice/b2bua"
	"tandem/internal/voice/sipua"
)

// metrics are the counters that somebody must add to; what can be read from a
// part when asked for is a function metric, made in register.
type metrics struct {
	ended    *prometheus.CounterVec
	refused  *prometheus.CounterVec
	talk     prometheus.Counter
	attempts *prometheus.CounterVec
	delay    prometheus.Histogram
	ring     prometheus.Histogram
	length   prometheus.Histogram
	requests *prometheus.CounterVec
	latency  *prometheus.HistogramVec
	webhooks *prometheus.CounterVec
	answers  prometheus.Histogram
	dead     prometheus.Counter
	lost     *prometheus.CounterVec
	heard    prometheus.Counter
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		ended: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_calls_ended_total",
			Help: "Calls that were routed and are over, by cause."}, []string{"cause"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_calls_refused_total",
			Help: "Calls that were not routed, by reason."}, []string{"reason"}),
		talk: prometheus.NewCounter(prometheus.CounterOpts{Name: "tandem_talk_seconds_total",
			Help: "Time that both sides were connected."}),
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_attempts_total",
			Help: "Attempts to ring a number, by trunk and what became of them."}, []string{"trunk", "outcome"}),
		delay: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tandem_post_dial_delay_seconds",
			Help: "From the INVITE to the first ringing that the caller was told of.", Buckets: prometheus.ExponentialBuckets(0.05, 2, 12)}),
		ring: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tandem_ring_seconds",
			Help: "From the INVITE to the answer or to the end without one.", Buckets: []float64{0.5, 1, 2, 5, 10, 15, 20, 30, 45, 60, 90, 120}}),
		length: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tandem_call_talk_seconds",
			Help: "Length of the talks of answered calls.", Buckets: []float64{1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200}}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_http_requests_total",
			Help: "Answered API requests, by operation and status."}, []string{"operation", "status"}),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "tandem_http_request_seconds",
			Help: "Time to answer an API request.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}, []string{"operation"}),
		webhooks: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_webhook_attempts_total",
			Help: "Attempts to deliver an event to an endpoint, by outcome."}, []string{"outcome"}),
		answers: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "tandem_webhook_attempt_seconds",
			Help: "Time until an endpoint answered, or was given up.", Buckets: []float64{0.01, 0.03, 0.1, 0.3, 1, 2, 5, 10, 15}}),
		dead: prometheus.NewCounter(prometheus.CounterOpts{Name: "tandem_webhook_dead_letters_total",
			Help: "Events that an endpoint was not brought, and that were given up."}),
		lost: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tandem_lost_node_calls_total",
			Help: "Calls of nodes found silent, by what this node did with them: taken_over or closed."}, []string{"outcome"}),
		heard: prometheus.NewCounter(prometheus.CounterOpts{Name: "tandem_silent_nodes_heard_total",
			Help: "Signs of life that this node gave the database for another one, which could not and answered it by SIP."}),
	}
	r.MustRegister(m.ended, m.refused, m.talk, m.attempts, m.delay, m.ring, m.length, m.requests, m.latency, m.webhooks, m.answers, m.dead, m.lost, m.heard)
	return m
}

// observe is told of every answered API request.
func (m *metrics) observe(operation string, status int, took time.Duration) {
	m.requests.WithLabelValues(operation, strconv.Itoa(status)).Inc()
	m.latency.WithLabelValues(operation).Observe(took.Seconds())
}

// register adds the metrics that are read from the parts.
func (a *App) register(r prometheus.Registerer) {
	gauge := func(name, help string, read func() float64) {
		r.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, read))
	}
	counter := func(name, help string, read func() float64) {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help}, read))
	}
	gauge("tandem_calls_live", "Calls that are up, and up to 32 s longer those one side of which has not confirmed the end.", func() float64 { return float64(a.exchange.Live()) })
	gauge("tandem_journal_waiting", "Call record entries that are not in the database yet.", func() float64 { return float64(a.journal.Waiting()) })
	gauge("tandem_journal_spooled", "Call record entries that wait in the data folder for the database.",
		func() float64 { return float64(a.journal.Spooled()) })
	gauge("tandem_journal_spool_bytes", "Size of what waits in the data folder for the database; new calls are refused from three quarters of 512 MiB on.",
		func() float64 { return float64(a.spool.Size()) })
	gauge("tandem_last_known_routes", "Claims of callers that are known to route by while the database is away.", a.knownRoutes)
	counter("tandem_refusals_unwritten_total", "Refused calls that were not written down for want of room.",
		func() float64 { return float64(a.journal.Unwritten()) })
	counter("tandem_leaks_blocked_total", "Messages that the tripwire stopped.", func() float64 { return float64(a.agent.Blocked()) })
	gauge("tandem_sip_client_transactions", "SIP client transactions.", func() float64 { return float64(a.agent.Stats().ClientTx) })
	gauge("tandem_sip_server_transactions", "SIP server transactions.", func() float64 { return float64(a.agent.Stats().ServerTx) })
	counter("tandem_sip_dropped_sources_total", "Datagrams and connections of unknown sources.",
		func() float64 { return float64(a.agent.Stats().DroppedSource) })
	counter("tandem_sip_malformed_total", "SIP messages that were refused as malformed.", func() float64 { return float64(a.agent.Stats().Malformed) })
	counter("tandem_sip_retransmissions_out_total", "SIP messages that had to be sent again.",
		func() float64 { return float64(a.agent.Stats().RetransmissionsOut) })
	a.messages(r)
	a.lookups(r)
	counter("tandem_sip_retransmissions_in_total", "SIP messages that were received again.",
		func() float64 { return float64(a.agent.Stats().RetransmissionsIn) })
	counter("tandem_sip_overload_total", "Requests and connections refused for want of room.",
		func() float64 { return float64(a.agent.Stats().Overload) })
	counter("tandem_sip_merged_total", "Requests that came twice by different ways (482).", func() float64 { return float64(a.agent.Stats().Merged) })
	counter("tandem_sip_stray_responses_total", "Responses that nothing waited for.", func() float64 { return float64(a.agent.Stats().Stray) })
	counter("tandem_sip_send_failures_total", "SIP messages that the network did not take.",
		func() float64 { return float64(a.agent.Stats().SendFailures) })
	counter("tandem_sip_tls_handshake_failures_total", "TLS handshakes of SIP that failed, with peers that connected and with those that we connect to.",
		func() float64 { return float64(a.agent.Stats().Handshakes) })
	counter("tandem_sip_panics_total", "Faults caught in the SIP dispatcher.", func() float64 { return float64(a.agent.Stats().Panics) })
	if a.export != nil {
		counter("tandem_hep_sent_total", "SIP messages sent to the HEP collector.", func() float64 { return float64(a.export.Stats().Sent) })
		counter("tandem_hep_dropped_total", "SIP messages that the HEP collector was not sent, for want of room or of a collector.",
			func() float64 { return float64(a.export.Stats().Dropped) })
	}
	gauge("tandem_media_sessions", "Open media sessions.", func() float64 { return float64(a.relay.Stats().Sessions) })
	gauge("tandem_media_ports_resting", "Port pairs held closed after a call.", func() float64 { return float64(a.relay.Stats().Quarantined) })
	counter("tandem_media_packets_in_total", "RTP packets taken in.", func() float64 { return float64(a.relay.Stats().PacketsIn) })
	counter("tandem_media_packets_out_total", "RTP packets sent.", func() float64 { return float64(a.relay.Stats().PacketsOut) })
	gauge("tandem_recordings_running", "Recordings of calls that are up.", func() float64 { return float64(a.recorder.Stats().Running) })
	gauge("tandem_recordings_waiting", "Recordings that are not in the blob store yet.", func() float64 { return float64(a.recorder.Stats().Waiting) })
	counter("tandem_recordings_stored_total", "Recordings stored.", func() float64 { return float64(a.recorder.Stats().Stored) })
	counter("tandem_recordings_failed_total", "Recordings of which nothing is left.", func() float64 { return float64(a.recorder.Stats().Failed) })
	counter("tandem_recording_packets_dropped_total", "RTP packets that recordings did not keep up with.",
		func() float64 { return float64(a.recorder.Stats().Dropped) })
	counter("tandem_media_strays_total", "Media packets of sources that were not the peer.", func() float64 { return float64(a.relay.Stats().Strays) })
	r.MustRegister(trunkMetrics{a.agent})
	a.trips(r)
}

// countingDirector and countingJournal count what passes through them.
type countingDirector struct {
	b2bua.Director
	m *metrics
}

func (d countingDirector) Refused(a masking.Ask, p masking.Plan, why masking.Refusal) {
	d.m.refused.WithLabelValues(string(why)).Inc()
	d.Director.Refused(a, p, why)
}

type countingJournal struct {
	b2bua.Journal
	m     *metrics
	clock func() time.Time
}

func (j countingJournal) Note(moment masking.Moment, c masking.Call, zone *time.Location) {
	switch moment {
	case masking.Rang:
		j.m.delay.Observe(max(0, j.clock().Sub(c.StartedAt).Seconds()))
	case masking.Ended:
		j.m.over(c)
	}
	j.Journal.Note(moment, c, zone)
}

// over counts a call that was routed and has ended.
func (m *metrics) over(c masking.Call) {
	m.ended.WithLabelValues(string(c.Cause)).Inc()
	m.talk.Add(c.TalkTime.Seconds())
	m.ring.Observe(c.RingTime.Seconds())
	if !c.AnsweredAt.IsZero() {
		m.length.Observe(c.TalkTime.Seconds())
	}
	for _, a := range c.Attempts {
		outcome := string(a.Cause)
		if a.Answered {
			outcome = "answered"
		}
		m.attempts.WithLabelValues(a.Trunk, outcome).Inc()
	}
}

// trips adds a counter of velocity alarms, one for each scope.
func (a *App) trips(r prometheus.Registerer) {
	for _, scope := range masking.Scopes {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tandem_guard_trips_total",
			Help:        "Velocity alarms: calls of a caller, through an allocation or of a tenant came faster than his settings want.",
			ConstLabels: prometheus.Labels{"scope": string(scope)}},
			func() float64 { return float64(a.director.Tripped(scope)) }))
	}
}

// lookups adds a counter of names that DNS was asked for, one for each outcome.
func (a *App) lookups(r prometheus.Registerer) {
	for outcome, of := range map[string]func(sipua.Lookups) uint64{
		"found":  func(l sipua.Lookups) uint64 { return l.Found },
		"gone":   func(l sipua.Lookups) uint64 { return l.Gone },
		"failed": func(l sipua.Lookups) uint64 { return l.Failed },
	} {
		r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tandem_dns_lookups_total",
			Help:        "Names of trunks that DNS was asked for, by what came of it: found, gone (DNS says that there is no server), failed.",
			ConstLabels: prometheus.Labels{"outcome": outcome}},
			func() float64 { return float64(of(a.agent.Lookups())) }))
	}
}

// messages adds counters of SIP messages, one for each direction and kind.
func (a *App) messages(r prometheus.Registerer) {
	for name, out := range map[string]bool{"in": false, "out": true} {
		for _, method := range ladder.Methods() {
			r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tandem_sip_requests_total",
				Help:        "SIP requests with their retransmissions, by direction and method; OTHER are all that are unknown.",
				ConstLabels: prometheus.Labels{"direction": name, "method": method}},
				func() float64 { return float64(a.agent.Requests(out, method)) }))
		}
		for class := 1; class <= 6; class++ {
			r.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "tandem_sip_responses_total",
				Help:        "SIP responses with their retransmissions, by direction and class.",
				ConstLabels: prometheus.Labels{"direction": name, "class": strconv.Itoa(class) + "xx"}},
				func() float64 { return float64(a.agent.Responses(out, class)) }))
		}
	}
}
