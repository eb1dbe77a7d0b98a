package app

import "tandem/internal/store"

// sleepers look at the database again and again, each at something, and can be woken
// when there is something new. Whoever is awake already looks once more.
type sleepers struct {
	deliverer, followers, trunks, announcements chan struct{}
}

func newSleepers() sleepers {
	c := func() chan struct{} { return make(chan struct{}, 1) }
	return sleepers{deliverer: c(), followers: c(), trunks: c(), announcements: c()}
}

// wake wakes those who look at a topic.
func (s sleepers) wake(t store.Topic) {
	switch t {
	case store.TopicEvents:
		poke(s.deliverer)
		poke(s.followers)
	case store.TopicTrunks:
		poke(s.trunks)
	case store.TopicAnnouncements:
		poke(s.announcements)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
