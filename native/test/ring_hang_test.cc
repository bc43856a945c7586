// A descriptor that really hangs whoever closes it: a file of a FUSE file system whose daemon is silent.
#include "fuse_file.h"
#include "ring_acceptor_fixture.h"

namespace lezea {

TEST("serves others and stops while the close of a FUSE file hangs") {
  test::HungFuseFile hung;
  if (!hung.valid()) SKIP("this machine lets nobody mount a FUSE file system");
  RingAcceptorOptions options;
  options.check_ms = 250;
  Fixture fixture(options);
  UniqueFd client = connect_to(fixture.folder.socket());
  CHECK(send_message(client.get(), offer_of(kToken), {hung.fd()}));
  CHECK(eventually([&] { return hung.flushes() == 1; }));
  RingWriter writer;
  CHECK_EQ(fixture.offer_ring(writer), kAccepted);
  CHECK(eventually([&] { return fixture.acceptor.counters().stuck == 1; }));
  CHECK_EQ(fixture.offer_ring(writer), kAccepted);
  CHECK_EQ(fixture.acceptor.counters().abandoned, 1);
  fixture.acceptor.stop();
  CHECK_EQ(fixture.acceptor.counters().stuck, 1);
  hung.release();
  CHECK_EQ(answer_from(client.get()), refused("not_sealable"));
  CHECK(eventually([&] { return fixture.idle(); }));
  CHECK_EQ(fixture.acceptor.counters().refused["not_sealable"], 1);
  CHECK_EQ(fixture.delivered(), 2);
}

}  // namespace lezea
