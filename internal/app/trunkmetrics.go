package app

import (
	"github.com/prometheus/client_golang/prometheus"

	"tandem/internal/voice/sipua"
)

// trunkMetrics tells how the trunks do when it is asked. Its labels are names and
// addresses that the operator has written, and nothing that a network sends.
type trunkMetrics struct{ agent *sipua.Agent }

var (
	trunkUp = prometheus.NewDesc("tandem_trunk_target_up",
		"Whether an address of a trunk is thought to work: 1 until it is known to be down.", []string{"trunk", "target"}, nil)
	trunkCalls      = prometheus.NewDesc("tandem_trunk_calls", "Outgoing calls that are up on a trunk.", []string{"trunk"}, nil)
	trunkRegistered = prometheus.NewDesc("tandem_trunk_registered",
		"Whether a trunk that registers is registered.", []string{"trunk"}, nil)
)

// Describe names the metrics.
func (m trunkMetrics) Describe(to chan<- *prometheus.Desc) {
	to <- trunkUp
	to <- trunkCalls
	to <- trunkRegistered
}

// Collect reads them.
func (m trunkMetrics) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	claim := func(holds bool) float64 {
		if holds {
			return 1
		}
		return 0
	}
	for _, t := range m.agent.Trunks() {
		h := m.agent.TrunkHealth(t.Name)
		gauge(trunkCalls, float64(h.LiveCalls), t.Name)
		seen := map[string]bool{} // an address may be named twice
		for _, target := range h.Targets {
			if !seen[target.Address] {
				gauge(trunkUp, claim(target.State != "down"), t.Name, target.Address)
			}
			seen[target.Address] = true
		}
		if h.Registration != nil {
			gauge(trunkRegistered, claim(h.Registration.State == "registered"), t.Name)
		}
	}
}
