#include "base/ed25519.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

namespace infertrail {
namespace {

using Context = Owned<EVP_MD_CTX, EVP_MD_CTX_free>;
using Bio = Owned<BIO, BIO_free_all>;

const uint8_t* octets(std::string_view text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

Error openssl_error(const std::string& doing) {
  char text[256];
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  ERR_clear_error();
  return {Code::kIo, doing + ": " + text};
}

// A key must not ask for a passphrase on the daemon's terminal: an encrypted file is an error.
int no_passphrase(char*, int, int, void*) {
  return -1;
}

}  // namespace

Result<Ed25519Key> Ed25519Key::from_handle(Handle handle) {
  if (!handle) return openssl_error("make an Ed25519 key");
  if (EVP_PKEY_get_id(handle.get()) != EVP_PKEY_ED25519)
    return Error{Code::kInvalid, "the key is not an Ed25519 key"};
  Ed25519PublicKey public_key;
  size_t length = public_key.size();
  if (EVP_PKEY_get_raw_public_key(handle.get(), public_key.data(), &length) != 1)
    return openssl_error("read the public key");
  return Ed25519Key(std::move(handle), public_key);
}

Result<Ed25519Key> Ed25519Key::generate() {
  return from_handle(Handle(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519")));
}

Result<Ed25519Key> Ed25519Key::from_seed(std::string_view seed32) {
  if (seed32.size() != 32) return Error{Code::kInvalid, "an Ed25519 seed has 32 bytes"};
  return from_handle(Handle(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, octets(seed32), seed32.size())));
}

Result<Ed25519Key> Ed25519Key::load(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.valid()) return system_error("open", path, errno);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) return system_error("stat", path, errno);
  if ((info.st_mode & 077) != 0)
    return Error{Code::kPermission,
                 path + ": the signing key is open to others; run: chmod 600 " + path};
  std::string text;
  TRY_STATUS(pread_some(fd.get(), 0, 65536, path, text));
  Bio bio(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  Handle handle(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  OPENSSL_cleanse(text.data(), text.size());
  if (!handle) {
    ERR_clear_error();
    return Error{Code::kCorrupt, path + ": is not a PEM private key"};
  }
  auto key = from_handle(std::move(handle));
  if (!key.ok()) return wrap(key.error(), path);
  return key;
}

Result<Ed25519Key> Ed25519Key::create(const std::string& path) {
  TRY(Ed25519Key key, generate());
  Bio bio(BIO_new(BIO_s_secmem()));
  if (!bio || PEM_write_bio_PrivateKey(bio.get(), key.handle_.get(), nullptr, nullptr, 0, nullptr,
                                       nullptr) != 1)
    return openssl_error("encode the signing key");
  char* text = nullptr;
  long length = BIO_get_mem_data(bio.get(), &text);
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd.valid()) return system_error("create the signing key", path, errno);
  Status written = write_all(fd.get(), {text, static_cast<size_t>(length)}, path);
  if (written.ok() && ::fsync(fd.get()) != 0) written = system_error("fsync", path, errno);
  if (written.ok()) written = fsync_dir(path.substr(0, path.rfind('/')));
  if (!written.ok()) {
    ::unlink(path.c_str());  // half a key would only be refused at the next start
    return written.error();
  }
  return key;
}

Result<Ed25519Signature> Ed25519Key::sign(std::string_view message) const {
  Context context(EVP_MD_CTX_new());
  Ed25519Signature signature;
  size_t length = signature.size();
  if (!context ||
      EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, handle_.get()) != 1 ||
      EVP_DigestSign(context.get(), signature.data(), &length, octets(message), message.size()) !=
          1)
    return openssl_error("sign");
  return signature;
}

bool ed25519_verify(const Ed25519PublicKey& key, std::string_view message,
                    std::string_view signature64) {
  if (signature64.size() != 64) return false;
  Owned<EVP_PKEY, EVP_PKEY_free> handle(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()));
  Context context(EVP_MD_CTX_new());
  bool valid = handle && context &&
               EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, handle.get()) == 1 &&
               EVP_DigestVerify(context.get(), octets(signature64), 64, octets(message),
                                message.size()) == 1;
  ERR_clear_error();
  return valid;
}

}  // namespace infertrail
