package relay

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/pion/rtcp"
)

// reports is what RTCP with one peer needs to remember.
type reports struct {
	senderSSRC uint32        // of the peer's last sender report
	senderNTP  uint32        // middle 32 bits of its NTP time, 0 = none yet
	senderAt   time.Duration // when it came

	priorOut uint64 // packetsOut at our last report
	priorIn  uint64 // packets at our last report
	priorNTP uint32 // middle 32 bits of the NTP time of our last sender report, 0 = none yet

	roundTrip, peerJitter time.Duration
	peerReported          bool
	peerLost              uint64
}

// reportDelay is the time to the next report: half to one and a half times mean
// (RFC 3550 §6.2), so that the reports of many calls do not leave together. The
// first report is due after half the interval.
func reportDelay(mean time.Duration) time.Duration {
	return mean/2 + time.Duration(randomUint64()%uint64(mean))
}

// heard takes one RTCP packet. Nothing of it goes to the other side.
func (s *Session) heard(side Side, b []byte, from netip.AddrPort) {
	now := s.engine.Elapsed()
	n := &s.ends[side]
	wellFormed := plausible(b)
	n.mu.Lock()
	if !wellFormed {
		n.malformed++
		n.mu.Unlock()
		return
	}
	b, ok := n.admitReport(b, from, now)
	n.mu.Unlock()
	if !ok {
		return
	}
	packets, err := rtcp.Unmarshal(b)
	n.mu.Lock()
	defer n.mu.Unlock()
	if err != nil {
		n.malformed++
		return
	}
	for _, p := range packets {
		switch p := p.(type) {
		case *rtcp.SenderReport:
			n.report.senderSSRC, n.report.senderNTP, n.report.senderAt = p.SSRC, uint32(p.NTPTime>>16), now
			n.peerReports(p.Reports, s.engine, now)
		case *rtcp.ReceiverReport:
			n.peerReports(p.Reports, s.engine, now)
		}
	}
}

// admitReport tells whether RTCP is the peer's, and gives it without its
// protection. Muxed with RTP it moves nothing: RTP does. The caller holds mu.
func (n *end) admitReport(b []byte, from netip.AddrPort, now time.Duration) (plain []byte, ok bool) {
	source := &n.rtcpSource
	if n.muxed {
		source = &n.rtpSource
	}
	ok = source.near(from)
	if ok && n.opener != nil {
		b, ok = n.opener.rtcp(b)
	}
	moved := false
	if ok && !n.muxed {
		ok, moved = source.admit(from, binary.BigEndian.Uint32(b[4:]), now)
	}
	if !ok {
		n.strays++
	}
	if moved {
		n.aimRTCP()
	}
	return b, ok
}

// plausible is the check of RFC 3550 A.2: a compound packet begins with a
// sender or receiver report of version 2 without padding.
func plausible(b []byte) bool {
	return len(b) >= 8 && len(b) <= maxPacket && b[0]&0xE0 == 0x80 && (b[1] == 200 || b[1] == 201)
}

// peerReports takes what the peer says about our stream. The caller holds mu.
func (n *end) peerReports(list []rtcp.ReceptionReport, e *Engine, now time.Duration) {
	for _, r := range list {
		if r.SSRC != n.ssrc {
			continue
		}
		n.report.peerReported, n.report.peerLost = true, 0
		if r.TotalLost < 1<<23 { // a signed 24-bit number: duplicates can make it negative
			n.report.peerLost = uint64(r.TotalLost)
		}
		clock := n.in.clock // both directions of a call run one codec
		if clock == 0 {
			clock = 8000
		}
		n.report.peerJitter = time.Duration(uint64(r.Jitter) * uint64(time.Second) / uint64(clock))
		if r.LastSenderReport == 0 || r.LastSenderReport != n.report.priorNTP {
			continue // about a report that was not our last
		}
		if trip := int32(uint32(e.ntp(now)>>16) - r.LastSenderReport - r.Delay); trip >= 0 {
			n.report.roundTrip = time.Duration(trip) * time.Second >> 16
		}
	}
}

// ntp is a moment in the format of RFC 3550 §4. It runs with the monotonic
// clock, so a step of the wall clock moves no report.
func (e *Engine) ntp(now time.Duration) uint64 {
	const from1900to1970 = 2208988800
	t := e.epoch.Add(now)
	return uint64(t.Unix()+from1900to1970)<<32 | uint64(t.Nanosecond())<<32/uint64(time.Second)
}

// sendReport sends our report to one side: about what we send there and what
// arrives from there, under our own SSRC and a random name.
func (s *Session) sendReport(side Side, bye bool) {
	n := &s.ends[side]
	n.mu.Lock() // once: a description that comes meanwhile may change all of them
	to, ssrc, cname, seal := n.rtcpTo.Load(), n.ssrc, n.cname, n.reportSeal
	n.mu.Unlock()
	if to == nil {
		return
	}
	packets := []rtcp.Packet{s.report(side, ssrc), rtcp.NewCNAMESourceDescription(ssrc, cname)}
	if bye {
		packets = append(packets, &rtcp.Goodbye{Sources: []uint32{ssrc}})
	}
	b, err := rtcp.Marshal(packets)
	if err != nil {
		s.engine.log.Warn("RTCP report not built", "side", side.String(), "error", err)
		return
	}
	n.mu.Lock()
	if seal != nil {
		b, err = seal.rtcp(b)
	}
	n.mu.Unlock()
	if err != nil || to.send(b) != nil {
		n.unsent.Add(1)
	}
}

// report builds, as ssrc, a sender report when we sent RTP to the side since the last
// one, else a receiver report (RFC 3550 §6.4).
func (s *Session) report(side Side, ssrc uint32) rtcp.Packet {
	n, other := &s.ends[side], &s.ends[side.Other()]
	now := s.engine.Elapsed()
	other.mu.Lock()
	rtpTime := other.flow.timestampAt(now, other.flow.clock)
	other.mu.Unlock()

	n.mu.Lock()
	defer n.mu.Unlock()
	blocks := n.receptionBlocks(now)
	out := n.packetsOut.Load()
	if out == n.report.priorOut {
		return &rtcp.ReceiverReport{SSRC: ssrc, Reports: blocks}
	}
	ntp := s.engine.ntp(now)
	n.report.priorOut, n.report.priorNTP = out, uint32(ntp>>16)
	return &rtcp.SenderReport{
		SSRC: ssrc, NTPTime: ntp, RTPTime: rtpTime,
		PacketCount: uint32(out), OctetCount: uint32(n.bytesOut.Load()), Reports: blocks,
	}
}

// receptionBlocks reports on the peer's stream if it was heard since the last
// report. The caller holds mu.
func (n *end) receptionBlocks(now time.Duration) []rtcp.ReceptionReport {
	if !n.in.begun || n.packets == n.report.priorIn {
		return nil
	}
	n.report.priorIn = n.packets
	r := rtcp.ReceptionReport{
		SSRC:               n.in.ssrc,
		FractionLost:       n.in.fraction(),
		TotalLost:          uint32(min(max(0, n.in.missing()), 1<<23-1)),
		LastSequenceNumber: n.in.extended(),
		Jitter:             n.in.jitter >> 4,
	}
	if n.report.senderNTP != 0 && n.report.senderSSRC == n.in.ssrc {
		r.LastSenderReport = n.report.senderNTP
		r.Delay = uint32(uint64(now-n.report.senderAt) << 16 / uint64(time.Second))
	}
	return []rtcp.ReceptionReport{r}
}
