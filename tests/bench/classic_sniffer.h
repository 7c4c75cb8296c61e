/* What the two halves of classic_sniffer share. */
#ifndef INFERTRAIL_CLASSIC_SNIFFER_H
#define INFERTRAIL_CLASSIC_SNIFFER_H

#define CLASSIC_PAYLOAD 16384

struct classic_record {
  unsigned long long time_ns;
  unsigned long long id;      /* tgid << 32 | tid */
  unsigned int length;        /* of what the call moved */
  unsigned int copied;        /* of it, at most CLASSIC_PAYLOAD */
  unsigned int written;       /* 1: SSL_write */
  unsigned int reserved;
  unsigned char payload[CLASSIC_PAYLOAD];
};

#endif
