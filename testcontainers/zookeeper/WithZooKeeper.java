import java.io.File;
import java.io.FileReader;
import java.net.InetSocketAddress;
import java.util.Properties;
import org.apache.zookeeper.server.ServerCnxnFactory;
import org.apache.zookeeper.server.ZooKeeperServer;

/**
 * A broker of a release before KRaft. The first one of a cluster has the ZooKeeper that all need in its process: they
 * live and die together.
 *
 *   java WithZooKeeper server.properties
 *
 * ZooKeeper listens where zookeeper.connect says, and keeps its files in the folder test.zookeeper.dir; there is none
 * without that folder.
 */
public final class WithZooKeeper {
    public static void main(String[] args) throws Exception {
        Properties properties = new Properties();
        try (FileReader reader = new FileReader(args[0])) {
            properties.load(reader);
        }
        String folder = properties.getProperty("test.zookeeper.dir");
        if (folder != null) {
            startZooKeeper(properties.getProperty("zookeeper.connect").split(":"), new File(folder));
        }
        kafka.Kafka.main(args);
    }

    private static void startZooKeeper(String[] address, File folder) throws Exception {
        ServerCnxnFactory factory = ServerCnxnFactory.createFactory(
            new InetSocketAddress(address[0], Integer.parseInt(address[1])), 100);
        ZooKeeperServer server = new ZooKeeperServer(folder, folder, 2000);
        factory.startup(server);
        // A broker that was killed left its session, and would not be let in while it lasts.
        for (long session : server.getZKDatabase().getSessions()) {
            server.closeSession(session);
        }
    }
}
